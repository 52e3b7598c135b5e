// The consumer: submits jobs of many kinds, stops some, now and then twice, and remembers what it was promised.

import { stopJob, stopJobs } from '../../src/db/job-stops.ts';
import { noBudget } from '../../src/domain/budget.ts';
import { isTerminal, type JobSpec } from '../../src/domain/job.ts';
import { commandOf, type Program } from './container.ts';
import type { JobFacts, Model } from './model.ts';
import type { Fleet } from './server.ts';

export class Consumer {
  readonly #fleet: Fleet;
  /** What it sees in its lists of jobs. */
  readonly #model: Model;
  /** Submits that were answered: these jobs must exist. */
  readonly acknowledged = new Set<string>();
  /** Jobs it knows of, for stops. */
  readonly #submitted: string[] = [];
  /** Stops that were answered: these jobs must have ended. */
  readonly stopped = new Set<string>();

  constructor(fleet: Fleet, model: Model) {
    this.#fleet = fleet;
    this.#model = model;
  }

  submit(): void {
    const life = this.#anyLife();
    const { world, accountId } = this.#fleet;
    if (life === null) return;
    const id = world.newId();
    this.#submitted.push(id);
    const submission = { id, accountId, spec: this.#spec(), imageSizeBytes: null, sourceRecipeUuid: null };
    life.submitter
      .submit({ ...submission, nonce: null, idempotency: null })
      .then(() => {
        this.acknowledged.add(id);
        life.hints.publish({ kind: 'schedule' });
      })
      .catch((error: unknown) => world.remark(`submit of ${id} failed: ${String(error)}`));
  }

  /** One of the last jobs, ended or not. */
  stopOne(): void {
    const { work } = this.#fleet.world.random;
    const recent = this.#submitted.slice(-20);
    if (recent.length > 0) this.stop(work.pick(recent), work.chance(0.3) ? work.integer(0, 3_000) : null);
  }

  /** A job that lives on though its last run fails, or has failed. */
  stopFailing(): void {
    const { work } = this.#fleet.world.random;
    const statusOf = ({ last_run_id }: JobFacts) => this.#model.runs.get(last_run_id ?? '')?.status;
    const live = [...this.#model.jobs.values()].filter((job) => !isTerminal(job.status));
    const failing = live.filter((job) => statusOf(job) === (work.chance(0.5) ? 'FAILING' : 'FAILED'));
    if (failing.length > 0) this.stop(work.pick(failing).id, null);
  }

  stop(jobId: string, graceMs: number | null): void {
    const life = this.#anyLife();
    const { world, accountId } = this.#fleet;
    if (life === null) return;
    const actor = { kind: 'key', public_key: 'simulated' };
    const order = {
      jobId,
      accountId,
      nonce: null,
      reason: 'simulated',
      detail: { code: 'stopped' },
      graceMs,
      actor,
    };
    stopJob(life.database, order)
      .then((outcome) => {
        world.count(`stop ${outcome.kind}`);
        if (outcome.kind === 'stopped' || outcome.kind === 'unchanged') this.stopped.add(jobId);
        if (outcome.kind !== 'stopped') return;
        if (outcome.run !== null) life.hints.publish({ kind: 'node', nodeId: outcome.run.nodeId });
        life.hints.publish({ kind: 'job', jobId });
        life.hints.publish({ kind: 'schedule' });
      })
      .catch((error: unknown) => world.remark(`stop of ${jobId} failed: ${String(error)}`));
  }

  /** Bulk: whatever has waited or run for a while. */
  stopMany(): void {
    const life = this.#anyLife();
    const { world, accountId } = this.#fleet;
    if (life === null) return;
    const { work } = world.random;
    const filters = [
      { kind: 'age', column: 'j.created_at', atLeastMs: work.integer(3_000, 30_000) } as const,
    ];
    const actor = { kind: 'key', public_key: 'simulated' };
    const order = {
      accountId,
      nonce: null,
      reason: 'simulated',
      detail: { code: 'stopped' },
      graceMs: null,
      actor,
    };
    stopJobs(life.database, { filters, order }, null)
      .then((batch) => {
        if (batch.kind !== 'decided') return;
        for (const { id, outcome, run } of batch.jobs) {
          world.count(`bulk stop ${outcome}`);
          this.stopped.add(id);
          if (run !== null) life.hints.publish({ kind: 'node', nodeId: run.nodeId });
        }
        life.hints.publish({ kind: 'schedule' });
      })
      .catch((error: unknown) => world.remark(`bulk stop failed: ${String(error)}`));
  }

  #anyLife() {
    const { servers, world } = this.#fleet;
    const living = servers.flatMap(({ life }) => (life === null || life.process.isPaused ? [] : [life]));
    return living.length === 0 ? null : world.random.work.pick(living);
  }

  #spec(): JobSpec {
    const { work } = this.#fleet.world.random;
    const isPersistent = work.chance(0.06);
    const gpuCount = work.weighted([
      { weight: 5, value: 0 },
      { weight: 5, value: 1 },
      { weight: 1, value: 2 },
    ]);
    const runsToLimit = work.chance(0.12);
    return {
      task: isPersistent ? 'PERSISTENT' : 'BATCH',
      title: 'simulated',
      description: null,
      requirements: {
        cpuCount: work.pick([0, 1, 1, 2, 3]),
        gpuCount,
        minRamGb: work.pick([0, 1, 2, 6]),
        minStorageGb: 0,
        minVramGb: 0,
        gpuName: null,
        gpuRegistryUuid: null,
        allowedRegionCodes: [],
      },
      container: {
        ...{ image: work.chance(0.03) ? 'missing' : `image-${work.integer(1, 6)}`, tag: 'latest' },
        ...{ host: null, user: null, secret: null, imagesrc: null, ports: null, env: {}, sshkey: null },
        ...{ allowedIps: [], entrypoint: null, stopSignal: null },
        volumes: work.chance(0.2) ? [aVolume] : [],
        command: commandOf(this.#program((isPersistent && work.chance(0.7)) || runsToLimit)),
        stopGraceMs: work.chance(0.5) ? work.integer(0, 4_000) : null,
      },
      maxTimeoutAssignMs: work.chance(0.4) ? work.pick([150, 1_000, 3_000, 6_000]) : 120_000,
      maxTimeoutStartMs: work.chance(0.2) ? work.pick([20, 60, 300, 2_000, 4_000]) : 60_000,
      startTimeoutWaitsForPull: work.chance(0.2),
      maxTimeoutRunMs: isPersistent
        ? null
        : work.chance(0.15) || runsToLimit
          ? work.integer(500, 5_000)
          : 60_000,
      maxRetryCount: work.weighted([
        { weight: 4, value: 0 },
        { weight: 3, value: 1 },
        { weight: 2, value: 3 },
      ]),
      maxNodeCount: 1,
      onNodeLost: work.pick([null, null, 'replace', 'fail'] as const),
      budget: noBudget,
      labels: {},
      priority: work.pick([0, 0, 5, 9]),
    };
  }

  #program(isEndless: boolean): Program {
    const { work } = this.#fleet.world.random;
    return {
      runMs: isEndless ? null : work.between(0, work.pick([20, 20, 3_000, 3_000, 12_000])),
      exitCode: work.chance(0.4) ? 1 : 0,
      termMs: work.chance(0.25) ? null : work.between(1, 1_500),
      lineCount: work.integer(0, 4),
    };
  }
}

const aVolume = { image: 'files', tag: 'latest', registry: '', user: '', secret: '', mount: '/files' };
