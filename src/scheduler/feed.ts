// Brings the working set up to date with the database: what changed since the last look, or everything on the first.
import type { Database } from '../db/database.ts';
import {
  feedStart,
  listChangedJobs,
  listChangedNodes,
  markFeed,
  type PendingJobRow,
} from '../db/placement.ts';
import type { WorkingSet } from '../domain/placement-working-set.ts';
import { AssignDeadlines } from './assign-deadlines.ts';

export class Feed {
  readonly #database: Database;
  readonly #workingSet: WorkingSet;
  readonly deadlines = new AssignDeadlines();
  #since = feedStart;
  #newest = new Map<string, number>();

  constructor(database: Database, workingSet: WorkingSet) {
    this.#database = database;
    this.#workingSet = workingSet;
  }

  /** Applies the changes; answers the database's time of the look. */
  async refresh(): Promise<number> {
    const mark = await markFeed(this.#database);
    const [jobs, nodes] = await Promise.all([
      listChangedJobs(this.#database, this.#since),
      listChangedNodes(this.#database, this.#since),
    ]);
    for (const { isRemoved, ...node } of nodes) {
      if (isRemoved) {
        this.#workingSet.removeNode(node.id);
        continue;
      }
      const gpus = node.gpus.map(({ vram_mib, ...gpu }) => ({
        ...gpu,
        vramMib: vram_mib,
        registryUuid: null,
      }));
      this.#workingSet.upsertNode({ ...node, gpus });
    }
    for (const job of jobs) {
      if (!job.isPending) this.forget(job.id);
      else {
        this.deadlines.set(job.id, job.timeoutAssignAtMs);
        this.#noteNewest(job);
        this.#workingSet.upsertJob({
          ...job,
          submittedAtMs: job.createdAtMs,
          waitingSinceMs: job.createdAtMs,
        });
      }
    }
    this.#since = mark.transaction;
    return mark.nowMs;
  }

  /** By account: the newest job that came since this was asked last. */
  takeNewest(): Map<string, number> {
    const newest = this.#newest;
    this.#newest = new Map();
    return newest;
  }

  #noteNewest({ accountId, createdAtMs }: PendingJobRow): void {
    this.#newest.set(accountId, Math.max(createdAtMs, this.#newest.get(accountId) ?? 0));
  }

  /** The job is not PENDING any more. */
  forget(jobId: string): void {
    this.deadlines.delete(jobId);
    this.#workingSet.removeJob(jobId);
  }
}
