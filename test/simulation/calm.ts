// After the faults: jobs that fit are placed within a bound, everything ends, and nothing is left anywhere.
import { isTerminal } from '../../src/domain/job.ts';
import type { Consumer } from './consumer.ts';
import type { JobFacts, Model, NodeFacts } from './model.ts';
import type { SimulatedNode } from './node.ts';
import type { RealSession } from './postgres.ts';
import type { Fleet } from './server.ts';
import { Violation, type World } from './world.ts';

export interface CalmParts {
  world: World;
  fleet: Fleet;
  nodes: readonly SimulatedNode[];
  model: Model;
  consumer: Consumer;
  session: RealSession;
}

/** Leases, leadership, back-offs and what was under way have settled by then. */
const settleMs = 60_000;
/** A node that was lost is back by then, and has heard its kill list. */
const returnedMs = 90_000;
/** A job that fits a node waits no longer than this. */
const placementMs = 15_000;
const quietLimitMs = 400_000;
const stopAllMs = 10_000;
/** More jobs than these in the queue would only make the calm longer. */
const longQueue = 12;

export class Calm {
  readonly #parts: CalmParts;
  readonly #sinceMs: number;
  readonly #fitsSinceMs = new Map<string, number>();
  #lookedAtMs = 0;
  #hasStoppedAll = false;

  constructor(parts: CalmParts) {
    this.#parts = parts;
    this.#sinceMs = parts.world.nowMs;
  }

  async run(): Promise<void> {
    const { world } = this.#parts;
    while (await world.step()) {
      if (world.nowMs < this.#lookedAtMs + 1_000) continue;
      this.#lookedAtMs = world.nowMs;
      const calmMs = world.nowMs - this.#sinceMs;
      if (calmMs > stopAllMs) this.#stopEndless();
      if (calmMs > settleMs) this.#checkPlacement();
      if (calmMs > returnedMs) this.#checkGivenUp();
      const left = this.#left();
      if (left.length === 0) {
        this.#checkPromises();
        return this.#checkLogs();
      }
      if (calmMs > quietLimitMs)
        throw new Violation('everything ends and nothing leaks', left.slice(0, 10).join('; '));
    }
  }

  /** Persistent jobs, and all that would run to its limit. */
  #stopEndless(): void {
    if (this.#hasStoppedAll) return;
    this.#hasStoppedAll = true;
    const { model, consumer } = this.#parts;
    for (const job of model.jobs.values())
      if (!isTerminal(job.status) && job.task === 'PERSISTENT') consumer.stop(job.id, null);
    const waiting = [...model.jobs.values()].filter(({ status }) => status === 'PENDING');
    for (const job of waiting.slice(longQueue)) consumer.stop(job.id, null);
  }

  #checkPlacement(): void {
    const { model, world } = this.#parts;
    for (const job of model.jobs.values()) {
      const fits =
        job.status === 'PENDING' && [...model.nodes.values()].some((node) => this.#fits(job, node));
      if (!fits) this.#fitsSinceMs.delete(job.id);
      else if (!this.#fitsSinceMs.has(job.id)) this.#fitsSinceMs.set(job.id, world.nowMs);
      else if (world.nowMs - (this.#fitsSinceMs.get(job.id) ?? 0) > placementMs)
        throw new Violation('a job that fits is placed', `job ${job.id} waits though a node is free for it`);
    }
  }

  #checkGivenUp(): void {
    const { model, nodes } = this.#parts;
    for (const { engine } of nodes)
      for (const { id, runUuid } of engine.containers.values())
        if (model.fenced.has(runUuid))
          throw new Violation(
            'what was given up goes when its node is back',
            `${id} of run ${runUuid} is still there`,
          );
  }

  #fits(job: JobFacts, node: NodeFacts): boolean {
    const freeGpus = node.gpus.filter(
      ({ uuid, health }) => health !== 'quarantined' && !this.#parts.model.gpus.has(`${node.id} ${uuid}`),
    );
    return (
      node.status === 'ready' &&
      !node.is_cordoned &&
      node.cpu_count - node.cpu_allocated >= (job.cpu_count || 0.1) &&
      node.ram_bytes - node.ram_allocated >= (job.min_ram_gb * 1e9 || 256e6) &&
      freeGpus.length >= job.gpu_count
    );
  }

  /** What is not over yet, as sentences. */
  #left(): string[] {
    const { model, nodes, fleet } = this.#parts;
    const jobs = [...model.jobs.values()].filter(({ status }) => !isTerminal(status));
    const runs = [...model.runs.values()].filter(
      (run) => run.released_at === null || !isTerminal(run.status),
    );
    return [
      ...jobs.map(({ id, status }) => `job ${id} is ${status}`),
      ...runs.map(
        (run) => `run ${run.id} is ${run.status} and ${run.released_at === null ? 'holds its node' : 'over'}`,
      ),
      ...[...model.gpus].map(([key, run]) => `GPU ${key} is held by run ${run}`),
      ...nodes.flatMap(({ engine, shape }) => [
        ...[...engine.containers.values()].map(
          ({ id, word, runUuid }) => `${id} of run ${runUuid} is ${word}`,
        ),
        ...[...engine.volumes.keys()].map((runUuid) => `volumes of run ${runUuid} are on ${shape.name}`),
      ]),
      ...(fleet.database.openTransactionCount > 0 ? ['a transaction is open'] : []),
    ];
  }

  /** What was said must be so. */
  #checkPromises(): void {
    const { model, consumer } = this.#parts;
    if (consumer.acknowledged.size === 0)
      throw new Violation('the simulation itself works', 'no submit was accepted');
    for (const id of consumer.acknowledged)
      if (!model.jobs.has(id))
        throw new Violation('no acknowledged job is lost', `job ${id} was accepted and is not there`);
    for (const id of consumer.stopped)
      if (!isTerminal(model.jobs.get(id)?.status ?? 'FAILED'))
        throw new Violation('every stop ends', `job ${id} was stopped and is ${model.jobs.get(id)?.status}`);
    for (const { id, teardown_state, receipt } of model.runs.values()) {
      if (teardown_state !== null && teardown_state !== 'verified' && teardown_state !== 'unverified')
        throw new Violation('every stop ends', `the teardown of run ${id} is ${teardown_state}`);
      if (!receipt?.proof && !receipt?.fenced)
        throw new Violation('every stop ends', `run ${id} has neither a proof of its end nor a fenced node`);
    }
  }

  /** Nothing was stored that was not written; and a log that is told to be whole is. */
  async #checkLogs(): Promise<void> {
    const rows = await this.#parts.session.query(
      'select s.run_id, s.total_bytes, r.is_log_complete from run_log_states s join job_runs r on r.id = s.run_id',
    );
    const written = new Map(this.#parts.nodes.flatMap(({ engine }) => [...engine.writtenBytes]));
    for (const { run_id, total_bytes, is_log_complete } of rows) {
      const bytes = written.get(String(run_id)) ?? 0;
      const isWrong = is_log_complete === true ? total_bytes !== bytes : Number(total_bytes) > bytes;
      if (isWrong)
        throw new Violation('logs are true', `run ${run_id} wrote ${bytes} bytes, ${total_bytes} are stored`);
    }
  }
}
