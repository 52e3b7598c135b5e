// The consumers of a chaos run: they submit, stop and read, and remember every answer they got.
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Job } from '../../src/protocol/job.ts';
import { ApiError } from '../../src/sdk/errors.ts';
import type { ChaosServer, Place } from './place.ts';
import { drawProgram, type Program } from './programs.ts';
import type { Random } from './random.ts';
import { type Visits, visit } from './visitors.ts';

export interface AcknowledgedJob {
  uuid: string;
  program: Program;
  /** The first terminal status that an answer showed, and when that answer came. */
  told: { status: Job['status']; atMs: number } | null;
  /** When an answer to Stop Job came, or to a bulk stop that names its label. */
  stoppedAtMs: number | null;
}

/** What no client may be answered. */
export interface WrongAnswer {
  jobUuid: string;
  text: string;
}

export interface LoadPace {
  submitEveryMs: number;
  stopEveryMs: number;
  bulkStopEveryMs: number;
  /** No more jobs are submitted while this many live. */
  maxLiveJobs: number;
}

const terminal: readonly string[] = ['COMPLETED', 'FAILED', 'CANCELLED'];
const readEveryMs = 700;
const visitEveryMs = 2_000;
const operateEveryMs = 4_000;
const batchCount = 20;
/** A request is tried at either server for this long, as the same request. */
const patienceMs = 60_000;

export class Load {
  readonly jobs = new Map<string, AcknowledgedJob>();
  readonly wrongAnswers: WrongAnswer[] = [];
  readonly visits: Visits = { answered: 0, failed: 0, wrong: this.wrongAnswers };
  /** Submits that got no answer at all: the job may be or not be, but once at most. */
  readonly unansweredKeys: string[] = [];
  stopCount = 0;
  bulkStopCount = 0;
  uncordonCount = 0;
  refusedCount = 0;
  readonly #place: Place;
  readonly #random: Random;
  readonly #pace: LoadPace;
  readonly #isLive: (jobUuid: string) => boolean;
  readonly #stop = new AbortController();
  readonly #underWay = new Set<Promise<void>>();

  constructor(
    place: Place,
    options: { random: Random; pace: LoadPace; isLive: (jobUuid: string) => boolean },
  ) {
    this.#place = place;
    this.#random = options.random;
    this.#pace = options.pace;
    this.#isLive = options.isLive;
  }

  async run(): Promise<void> {
    const { submitEveryMs, stopEveryMs, bulkStopEveryMs } = this.#pace;
    await Promise.all([
      this.#every(submitEveryMs, this.#random.fork('submits'), (random) => this.#submit(random)),
      this.#every(stopEveryMs, this.#random.fork('stops'), (random) => this.#stopOne(random)),
      this.#every(bulkStopEveryMs, this.#random.fork('bulk stops'), (random) => this.#stopBatch(random)),
      this.#every(operateEveryMs, this.#random.fork('operator'), (random) => this.#operate(random)),
      this.#every(visitEveryMs, this.#random.fork('visits'), (random) => this.#visit(random)),
      this.#every(readEveryMs, this.#random.fork('reads'), (random) => this.#read(random)),
    ]);
  }

  /** No new request; resolves when those under way are answered or given up. */
  async end(): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#underWay);
  }

  liveJobs(): AcknowledgedJob[] {
    return [...this.jobs.values()].filter(({ uuid, told }) => told === null && this.#isLive(uuid));
  }

  /** Starts `task` at uneven intervals of `meanMs`, whatever became of the one before. */
  async #every(meanMs: number, random: Random, task: (random: Random) => Promise<void>): Promise<void> {
    while (!this.#stop.signal.aborted) {
      const running: Promise<void> = task(random).finally(() => this.#underWay.delete(running));
      this.#underWay.add(running);
      await sleep(meanMs * (0.3 + 1.4 * random.next()), undefined, { signal: this.#stop.signal }).catch(
        () => {},
      );
    }
  }

  async #submit(random: Random): Promise<void> {
    const program = drawProgram(random, `batch-${random.integer(1, batchCount)}`);
    const start = random.next();
    if (this.liveJobs().length >= this.#pace.maxLiveJobs) return;
    const idempotencyKey = randomUUID();
    const job = await this.#ask(start, ({ client }) => client.jobs.create(program.body, { idempotencyKey }));
    if (job === null) {
      this.unansweredKeys.push(idempotencyKey);
      return;
    }
    this.jobs.set(job.uuid, { uuid: job.uuid, program, told: null, stoppedAtMs: null });
    this.#heard(job, Date.now());
  }

  /** Mostly what runs until it is stopped; now and then one that was submitted this moment. */
  async #stopOne(random: Random): Promise<void> {
    const live = this.liveJobs();
    const endless = live.filter(({ program }) => program.exitCode === null);
    const from =
      random.chance(0.6) && endless.length > 0 ? endless : random.chance(0.4) ? live.slice(-3) : live;
    const grace = random.pick([null, 0, 500, 2_000]);
    const waitMs = random.pick([0, 0, 3_000]);
    const [start, isTwice, choice] = [random.next(), random.chance(0.2), random.next()];
    const job = from[Math.floor(choice * from.length)];
    if (job === undefined) return;
    const body = {
      reason: 'chaos',
      wait_ms: waitMs,
      ...(grace === null ? {} : { stop_grace_ms: grace }),
    };
    const askedAtMs = Date.now();
    const stop = (server: ChaosServer) => server.client.jobs.cancel(job.uuid, body);
    const answers = await Promise.all(
      [start, ...(isTwice ? [1 - start] : [])].map((it) => this.#ask(it, stop)),
    );
    for (const answer of answers) {
      if (answer === null) continue;
      this.stopCount += 1;
      job.stoppedAtMs ??= Date.now();
      if (!terminal.includes(answer.status)) this.#wrong(job.uuid, `Stop Job answered ${answer.status}`);
      this.#heard(answer, askedAtMs);
    }
  }

  /** Every job of a label that was acknowledged before the question has ended when a complete answer comes. */
  async #stopBatch(random: Random): Promise<void> {
    const label = `batch-${random.integer(1, batchCount)}`;
    const start = random.next();
    const body = { filter: { label: `batch=${label}` }, reason: 'chaos in bulk', stop_grace_ms: 1_000 };
    const named = [...this.jobs.values()].filter(({ program }) => program.body.labels?.batch === label);
    const askedAtMs = Date.now();
    const answer = await this.#ask(start, ({ client }) => client.jobs.cancelAll(body));
    if (answer === null) return;
    this.bulkStopCount += 1;
    this.stopCount += answer.counts.stopped;
    if (answer.is_complete) for (const job of named) job.stoppedAtMs ??= Date.now();
    for (const { uuid, outcome } of answer.jobs)
      if (outcome === 'stopped') this.#heard({ uuid, status: 'CANCELLED' }, askedAtMs);
  }

  /** Any job, also one that ended long ago, from any server. */
  async #read(random: Random): Promise<void> {
    const start = random.next();
    const jobs = [...this.jobs.values()];
    const recent = random.chance(0.7) ? jobs.slice(-40) : jobs;
    const chosen = recent[Math.floor(random.next() * recent.length)];
    if (chosen === undefined) return;
    const askedAtMs = Date.now();
    const answer = await this.#ask(start, ({ client }) => client.jobs.get(chosen.uuid));
    if (answer !== null) this.#heard(answer, askedAtMs);
  }

  /** A node whose run could not be ended in time is cordoned; an operator looks, and lets it work again. */
  async #operate(random: Random): Promise<void> {
    const start = random.next();
    const nodes = await this.#ask(start, ({ client }) => client.nodes.list());
    for (const { uuid, status } of nodes?.data ?? []) {
      if (status !== 'cordoned') continue;
      this.uncordonCount += 1;
      await this.#ask(start, ({ client }) => client.nodes.uncordon(uuid));
    }
  }

  async #visit(random: Random): Promise<void> {
    const [start, choice] = [random.next(), random.next()];
    const serving = this.liveJobs().filter(({ program }) => program.kind === 'serving');
    const chosen = serving[Math.floor(choice * serving.length)];
    if (chosen === undefined) return;
    const job = await this.#ask(start, ({ client }) => client.jobs.get(chosen.uuid));
    if (job === null) return;
    const runUuids = async () => {
      const filter = { job_uuid: chosen.uuid };
      const runs = await this.#ask(start, ({ client }) => client.runs.list({ limit: 50, filter }));
      return (runs?.data ?? []).map(({ uuid }) => uuid);
    };
    await visit(this.visits, job, runUuids);
  }

  /** An answer to a question asked before another answer came may be older than that one. */
  #heard({ uuid, status }: Pick<Job, 'uuid' | 'status'>, askedAtMs: number): void {
    const job = this.jobs.get(uuid);
    if (job === undefined) return;
    const { told } = job;
    if (told !== null && told.atMs < askedAtMs && told.status !== status)
      this.#wrong(uuid, `an answer said ${status} after another had said ${told.status}`);
    if (terminal.includes(status)) job.told ??= { status, atMs: Date.now() };
  }

  #wrong(jobUuid: string, text: string): void {
    this.wrongAnswers.push({ jobUuid, text });
  }

  /** Asks one server after the other until one answers; null when none did in time. `start` chooses the first. */
  async #ask<T>(start: number, request: (server: ChaosServer) => Promise<T>): Promise<T | null> {
    const { servers } = this.#place;
    const giveUpAt = performance.now() + patienceMs;
    for (let turn = Math.floor(start * servers.length); performance.now() < giveUpAt; turn += 1) {
      const server = servers[turn % servers.length];
      if (server === undefined) return null;
      try {
        return await request(server);
      } catch (error) {
        // The database may be away (503); every other refusal of a request that is in order is wrong.
        const isWrong = error instanceof ApiError && error.status !== 503;
        if (isWrong) this.#wrong('', `${error.status} ${error.message} (request ${error.requestId})`);
        this.refusedCount += 1;
        if (isWrong) return null;
      }
      await sleep(300);
    }
    return null;
  }
}
