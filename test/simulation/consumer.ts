// The consumer: submits jobs of many kinds, stops some, now and then twice, and remembers what it was promised.

import { stopJob, stopJobs } from '../../src/db/job-stops.ts';
import type { JobSpec } from '../../src/domain/job.ts';
import type { Fleet } from './server.ts';

export class Consumer {
  readonly #fleet: Fleet;
  /** Submits that were answered: these jobs must exist. */
  readonly acknowledged = new Set<string>();
  /** Jobs it knows of, for stops. */
  readonly #submitted: string[] = [];
  /** Stops that were answered: these jobs must have ended. */
  readonly stopped = new Set<string>();

  constructor(fleet: Fleet) {
    this.#fleet = fleet;
  }

  submit(spec: JobSpec): void {
    const life = this.#anyLife();
    const { world, accountId } = this.#fleet;
    if (life === null) return;
    const id = world.newId();
    this.#submitted.push(id);
    const submission = { id, accountId, spec, imageSizeBytes: null, sourceRecipeUuid: null };
    life.submitter
      .submit({ ...submission, nonce: null, idempotency: null, actor: { kind: 'consumer' } })
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
}
