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
import type { Prices } from './prices.ts';

export class Feed {
  readonly #database: Database;
  readonly #workingSet: WorkingSet;
  readonly #prices: Prices;
  readonly deadlines = new AssignDeadlines();
  #since = feedStart;
  #newest = new Map<string, number>();

  constructor(database: Database, workingSet: WorkingSet, prices: Prices) {
    this.#database = database;
    this.#workingSet = workingSet;
    this.#prices = prices;
  }

  /** Applies the changes; answers the database's time of the look. */
  async refresh(): Promise<number> {
    // Cards that are known as others now: every node is read again.
    const nodesSince = (await this.#prices.refresh()) ? feedStart : this.#since;
    const mark = await markFeed(this.#database);
    const [jobs, nodes] = await Promise.all([
      listChangedJobs(this.#database, this.#since),
      listChangedNodes(this.#database, nodesSince),
    ]);
    for (const node of nodes) {
      if (node.isRemoved) this.#workingSet.removeNode(node.id);
      else this.#workingSet.upsertNode(this.#prices.toPlacementNode(node));
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
