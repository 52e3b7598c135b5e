// A random history of runs, driven through submit, plan, reports, stops, losses and billing; it keeps what truly happened.
import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import { readJobRequest } from '../../../src/api/job-request.ts';
import { stopJob } from '../../../src/db/job-stops.ts';
import { createJobSubmitter } from '../../../src/db/job-submit.ts';
import { billRuns } from '../../../src/db/ledger.ts';
import { listDueRuns, writePlan } from '../../../src/db/placement.ts';
import { applyRunEvents } from '../../../src/db/run-events.ts';
import { createReportSink } from '../../../src/hub/reports.ts';
import { AgentSession } from '../../../src/hub/session.ts';
import { newId } from '../../../src/main/ids.ts';
import type { RunEvent } from '../../../src/protocol/agent-messages.ts';
import { type ANode, aJob, aNode } from '../../support/builders.ts';
import type { TestServer } from '../../support/server.ts';
import { exitedEvent, releasedEvent, runningEvent, withAge } from './told-events.ts';

/** What is true of a run's container, told by nothing but the world; times in whole epoch milliseconds. */
export interface TrueRun {
  id: string;
  jobId: string;
  nodeId: string;
  attempt: number;
  rateMicros: number;
  startsAtMs: number;
  /** By itself. */
  exitsAtMs: number;
  exitCode: number;
  /** Its job's own grace. */
  graceMs: number;
  /** What the servers were told and asked, as far as it counts. */
  startedAtMs: number | null;
  endedAtMs: number | null;
  stopAtMs: number | null;
  stopGraceMs: number;
  isOver: boolean;
  reports: { atMs: number; event: RunEvent; trueAtMs: number; isCopy: boolean }[];
  isStartTold: boolean;
  isEndTold: boolean;
}

export interface HistoryOptions {
  accountId: string;
  runCount: number;
  /** 0 to 1. */
  random: () => number;
}

export interface History {
  runs: TrueRun[];
  counts: Record<string, number>;
}

const stepMs = 1_800_000;
const hourMs = 3_600_000;
const defaultGraceMs = 10_000;
const actor = { kind: 'test' };

/** From the start of its container to the observed end, and after a stop no longer than the grace that goes with it. */
export function trueMs({ startedAtMs, endedAtMs, stopAtMs, stopGraceMs }: TrueRun): number {
  if (startedAtMs === null || endedAtMs === null) return 0;
  const latest = stopAtMs === null ? endedAtMs : stopAtMs + stopGraceMs;
  return Math.max(0, Math.min(endedAtMs, latest) - startedAtMs);
}

/** Runs the history to its end; the database's clock is the history's from then on. */
export async function playHistory(server: TestServer, options: HistoryOptions): Promise<History> {
  const world = new World(server, options);
  await world.begin();
  while (!world.isOver) await world.step();
  await world.end();
  return { runs: [...world.runs.values()], counts: world.counts };
}

class World {
  readonly runs = new Map<string, TrueRun>();
  readonly counts: Record<string, number> = {};
  readonly #server: TestServer;
  readonly #options: HistoryOptions;
  readonly #sessions = new Map<string, AgentSession>();
  readonly #waiting = new Map<string, { graceMs: number | null }>();
  readonly #live = new Map<string, TrueRun>();
  #nodes: ANode[] = [];
  #nowMs = Date.now() - 20 * 86_400_000;

  constructor(server: TestServer, options: HistoryOptions) {
    this.#server = server;
    this.#options = options;
  }

  get isOver(): boolean {
    return this.runs.size >= this.#options.runCount && this.#waiting.size === 0 && this.#live.size === 0;
  }

  async begin(): Promise<void> {
    const { database } = this.#server;
    this.#nodes = await Promise.all(Array.from({ length: 40 }, () => aNode(this.#server)));
    const lives = await database.query<{ id: string; session_id: string }>(
      'select id, session_id from nodes',
    );
    for (const { id, session_id: life } of lives) this.#sessions.set(id, this.#session(id, life));
    await database.query('create table test_clock (at timestamptz not null)');
    await database.query('insert into test_clock values (now())');
    await database.query(`create or replace function flotilla_now() returns timestamptz
      language sql stable parallel safe as 'select at from test_clock'`);
  }

  /** One half hour: what happens in it comes in the order of a real day, on the functions that servers use. */
  async step(): Promise<void> {
    this.#nowMs += Math.floor(stepMs * (0.5 + this.#random()));
    await this.#server.database.query('update test_clock set at = to_timestamp($1::float8 / 1000)', [
      this.#nowMs,
    ]);
    await this.#submit();
    await this.#place();
    await this.#stopSome();
    await this.#report();
    await this.#loseNode();
    await this.#timeOut();
    await this.#bill();
  }

  async end(): Promise<void> {
    while ((await billRuns(this.#server.database, { limit: 700, everyMs: hourMs, actor })) > 0);
  }

  #random(): number {
    return this.#options.random();
  }

  #whole(max: number): number {
    return Math.floor(this.#random() * max);
  }

  #count(what: string): void {
    this.counts[what] = (this.counts[what] ?? 0) + 1;
  }

  #session(nodeId: string, lifeId: string): AgentSession {
    const socket = Object.assign(new EventEmitter(), {
      ...{ readyState: 1, OPEN: 1, bufferedAmount: 0 },
      ...{ send: () => {}, ping: () => {}, terminate: () => {} },
      close: (_: number, reason: string) => assert.fail(`the hub closed an agent's connection: ${reason}`),
    });
    const identity = { nodeId, accountId: this.#options.accountId, publicKey: 'pk_test' };
    const events = { message: () => {}, closed: () => {}, malformed: () => assert.fail('malformed') };
    const timers = { after: () => () => {} };
    const session = new AgentSession(socket, { cork() {}, uncork() {} }, { identity, events, timers });
    session.lifeId = lifeId;
    return session;
  }

  async #submit(): Promise<void> {
    const left = this.#options.runCount - this.runs.size - this.#waiting.size;
    const { database, storage } = this.#server;
    const submitter = createJobSubmitter(database, storage.vault);
    const wanted = Array.from({ length: Math.min(left, 120) }, () => {
      const graceMs = this.#random() < 0.5 ? null : this.#whole(300_000);
      const body = aJob({
        max_retry_count: this.#whole(3),
        max_timeout_run_ms: 60_000 + this.#whole(40 * hourMs),
        max_timeout_start_ms: 120_000 + this.#whole(10 * hourMs),
        max_timeout_assign_ms: 2_592_000_000,
        container: graceMs === null ? {} : { stop_grace_ms: graceMs },
      });
      return { id: newId(), graceMs, ...readJobRequest(body) };
    });
    await Promise.all(
      wanted.map(async ({ id, graceMs, ...job }) => {
        const { accountId } = this.#options;
        const rest = { sourceRecipeUuid: null, nonce: null, idempotency: null, actor: { kind: 'test' } };
        assert.equal((await submitter.submit({ id, accountId, ...job, ...rest })).kind, 'created');
        this.#waiting.set(id, { graceMs });
      }),
    );
  }

  /** Stops some that wait; the others get a node, whatever it holds: their size is 0. */
  async #place(): Promise<void> {
    for (const jobId of [...this.#waiting.keys()]) if (this.#random() < 0.03) await this.#stop(jobId, null);
    const { database, leadership } = this.#server;
    assert.ok(leadership);
    const versions = await database.query<{ id: string; version: number }>(
      "select id, version from nodes where status = 'ready'",
    );
    const plan = [...this.#waiting].map(([jobId, { graceMs }]) => {
      const node = versions[this.#whole(versions.length)] ?? assert.fail('a node is ready');
      const size = { cpuCount: 0, ramBytes: 0, storageBytes: 0, gpuUuids: [] };
      const run = this.#makeRun(jobId, node.id, graceMs);
      const place = { jobId, runId: run.id, nodeId: node.id, nodeVersion: node.version };
      return { run, ...place, ...size, hourlyRateMicros: run.rateMicros };
    });
    const placed = await writePlan(database, leadership, plan);
    const ids = plan.map(({ runId }) => runId);
    const attempts = await database.query<{ id: string; attempt: number }>(
      'select id, attempt from job_runs where id = any ($1::uuid[])',
      [ids],
    );
    const attemptOf = new Map(attempts.map(({ id, attempt }) => [id, attempt]));
    for (const { run, jobId } of plan) {
      assert.ok(placed.has(jobId));
      run.attempt = attemptOf.get(run.id) ?? 0;
      this.#waiting.delete(jobId);
      this.#live.set(run.id, run);
      this.runs.set(run.id, run);
    }
  }

  #makeRun(jobId: string, nodeId: string, graceMs: number | null): TrueRun {
    const startsAtMs = this.#nowMs + this.#whole(2 * hourMs);
    const kind = this.#random();
    const rateMicros = kind < 0.1 ? 0 : kind < 0.3 ? 1 + this.#whole(2_000) : this.#whole(8_000_000);
    return {
      ...{ id: newId(), jobId, nodeId, attempt: 0, rateMicros, startsAtMs },
      exitsAtMs: startsAtMs + this.#whole(this.#random() < 0.3 ? 60_000 : 12 * hourMs),
      exitCode: this.#random() < 0.3 ? 1 : 0,
      graceMs: graceMs ?? defaultGraceMs,
      ...{ startedAtMs: null, endedAtMs: null, stopAtMs: null, stopGraceMs: 0, isOver: false },
      ...{ reports: [], isStartTold: false, isEndTold: false },
    };
  }

  async #stopSome(): Promise<void> {
    for (const run of [...this.#live.values()]) {
      if (run.endedAtMs !== null || run.stopAtMs !== null || this.#random() > 0.04) continue;
      await this.#stop(run.jobId, run);
    }
  }

  async #stop(jobId: string, run: TrueRun | null): Promise<void> {
    const graceMs = this.#random() < 0.5 ? null : this.#whole(300_000);
    const order = { nonce: null, reason: 'enough', detail: {}, graceMs, actor };
    const stopped = await stopJob(this.#server.database, {
      jobId,
      accountId: this.#options.accountId,
      ...order,
    });
    assert.equal(stopped.kind, 'stopped');
    if (run === null) this.#count('stopped while it waited');
    else this.#noteStop(run, graceMs ?? run.graceMs, graceMs === null ? 'stopped' : 'stopped with own grace');
    this.#waiting.delete(jobId);
  }

  /** The node hears of it at some time, and its container goes at some time after that, or before. */
  #noteStop(run: TrueRun, graceMs: number, what: string): void {
    run.stopAtMs = this.#nowMs;
    run.stopGraceMs = graceMs;
    const heardAtMs = this.#nowMs + this.#whole(this.#random() < 0.8 ? 2_000 : hourMs);
    this.#count(run.startsAtMs >= heardAtMs ? `${what} before its start` : what);
    if (run.startsAtMs >= heardAtMs) run.startsAtMs = Number.POSITIVE_INFINITY;
    run.exitsAtMs = Math.min(run.exitsAtMs, heardAtMs + this.#whole(graceMs + 60_000));
  }

  /** Reports that are due go through the hub's own sink, some late, some twice, in the order of each node's outbox. */
  async #report(): Promise<void> {
    for (const run of this.#live.values()) this.#writeReports(run);
    const due = [...this.#live.values(), ...this.#ended].flatMap((run) => this.#takeDue(run));
    const { database } = this.#server;
    const hints = { publish: () => {}, subscribe: () => () => {}, close: async () => {} };
    const onRefused = () => assert.fail('a report was refused');
    const sink = createReportSink({
      database,
      hints,
      monotonicNow: () => 0,
      onRefused,
      onError: (error) => assert.fail(String(error)),
    });
    for (const { run, event, trueAtMs } of due) {
      const session = this.#sessions.get(run.nodeId) ?? assert.fail('a session');
      const aged = withAge(event, this.#nowMs - trueAtMs);
      sink.add({ session, sequence: 1, runId: run.id, attempt: run.attempt, event: aged, receivedAtMs: 0 });
    }
    await sink.drain();
    for (const { run, event, trueAtMs, isCopy } of due) this.#hear(run, { event, trueAtMs, isCopy });
    await this.#requeue(due.map(({ run }) => run.jobId));
  }

  #ended: TrueRun[] = [];

  /** What its agent puts into the outbox by now. */
  #writeReports(run: TrueRun): void {
    const lateMs = () => (this.#random() < 0.7 ? 0 : this.#whole(5 * hourMs));
    const tell = (event: RunEvent, trueAtMs: number) => {
      const atMs = Math.max(trueAtMs + lateMs(), run.reports.at(-1)?.atMs ?? 0);
      if (atMs > trueAtMs + hourMs) this.#count('reported late');
      run.reports.push({ atMs, event, trueAtMs, isCopy: false });
      if (this.#random() > 0.15) return;
      this.#count('reported twice');
      run.reports.push({ atMs: atMs + this.#whole(4 * hourMs), event, trueAtMs, isCopy: true });
    };
    if (!run.isStartTold && run.startsAtMs <= this.#nowMs) {
      run.isStartTold = true;
      tell(runningEvent, run.startsAtMs);
    }
    const endsAtMs = Number.isFinite(run.startsAtMs)
      ? Math.max(run.exitsAtMs, run.startsAtMs)
      : run.exitsAtMs;
    if (run.isEndTold || endsAtMs > this.#nowMs) return;
    run.isEndTold = true;
    if (run.isStartTold) tell(exitedEvent(run.exitCode), endsAtMs);
    const atMs = Math.max(endsAtMs, run.reports.at(-1)?.atMs ?? 0);
    run.reports.push({ atMs, event: releasedEvent, trueAtMs: atMs, isCopy: false });
  }

  #takeDue(run: TrueRun) {
    const due = run.reports.filter(({ atMs }) => atMs <= this.#nowMs);
    run.reports = run.reports.filter(({ atMs }) => atMs > this.#nowMs);
    return due.map((report) => ({ run, ...report }));
  }

  #hear(
    run: TrueRun,
    { event, trueAtMs, isCopy }: { event: RunEvent; trueAtMs: number; isCopy: boolean },
  ): void {
    if (run.isOver || isCopy) return;
    if (event.kind === 'running') run.startedAtMs = trueAtMs;
    if (event.kind === 'exited') run.endedAtMs = trueAtMs;
    if (event.kind !== 'released') return;
    run.endedAtMs ??= this.#nowMs;
    this.#finish(run);
  }

  #finish(run: TrueRun): void {
    run.isOver = true;
    this.#live.delete(run.id);
    if (run.reports.length > 0) this.#ended.push(run);
  }

  /** Jobs that are PENDING again are placed with the next step. */
  async #requeue(jobIds: readonly string[]): Promise<void> {
    const rows = await this.#server.database.query<{ id: string; grace: number | null }>(
      `select id, (container ->> 'stop_grace_ms')::integer as grace from jobs
       where id = any ($1::uuid[]) and status = 'PENDING'`,
      [[...jobIds]],
    );
    for (const { id, grace } of rows) {
      if (!this.#waiting.has(id)) this.#count('retried');
      this.#waiting.set(id, { graceMs: grace });
    }
  }

  /** What it holds is given up; what it says of that later is evidence and no more. */
  async #loseNode(): Promise<void> {
    if (this.#random() > 0.15) return;
    const { id } = this.#nodes[this.#whole(this.#nodes.length)] ?? assert.fail('a node');
    const lost = [...this.#live.values()].filter(({ nodeId }) => nodeId === id);
    const event = () => ({ kind: 'node_lost' as const, reason: 'lost' });
    const events = lost.map((run) => ({ runId: run.id, from: null, event }));
    const applied = await applyRunEvents(this.#server.database, events, actor);
    assert.ok(applied.every(({ kind }) => kind === 'applied'));
    for (const run of lost) {
      this.#count('lost with its node');
      run.endedAtMs ??= this.#nowMs;
      this.#finish(run);
    }
    await this.#requeue(lost.map(({ jobId }) => jobId));
  }

  async #timeOut(): Promise<void> {
    const { database } = this.#server;
    const due = await listDueRuns(database, 500);
    const events = due.map(({ id, kind }) => ({ runId: id, from: null, event: () => ({ kind }) }));
    const applied = await applyRunEvents(database, events, actor);
    for (const [index, { id, kind }] of due.entries()) {
      const run = this.#live.get(id);
      assert.ok(run && applied[index]?.kind === 'applied');
      this.#noteStop(run, run.graceMs, kind);
    }
  }

  /** A leader that is killed in a round leaves nothing of it; one that is killed between rounds leaves the rest; two may overlap. */
  async #bill(): Promise<void> {
    const { database } = this.#server;
    const limit = 1 + this.#whole(60);
    const round = { limit, everyMs: hourMs, actor };
    const luck = this.#random();
    if (luck < 0.2) {
      this.#count('leader killed in a billing round');
      const killed = database.transaction(async (sql) => {
        await billRuns(sql, round);
        throw new Error('killed');
      });
      await assert.rejects(killed, /killed/);
    } else if (luck < 0.4) {
      this.#count('leader killed between billing rounds');
      await billRuns(database, round);
    } else if (luck < 0.6) {
      this.#count('two leaders bill');
      await Promise.all([billRuns(database, round), billRuns(database, round), billRuns(database, round)]);
    } else {
      while ((await billRuns(database, { ...round, limit: 500 })) === 500);
    }
  }
}
