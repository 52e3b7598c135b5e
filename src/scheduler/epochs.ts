// The books of nodes: a few weeks are computed anew with each look, the longest untouched first, until they are final.
import type { Database } from '../db/database.ts';
import { computeEpochs, openEpochs } from '../db/epochs.ts';

/** New nodes and new weeks get their row this much later at most. */
const openMs = 60_000;
/** A row is this old at least before it is computed again. */
const everyMs = 60_000;
const lookMs = 5_000;
const batchSize = 100;

export class EpochBooks {
  readonly #database: Database;
  readonly #monotonicNow: () => number;
  #openedAtMs = Number.NEGATIVE_INFINITY;
  #computedAtMs = Number.NEGATIVE_INFINITY;

  constructor(database: Database, monotonicNow: () => number) {
    this.#database = database;
    this.#monotonicNow = monotonicNow;
  }

  async review(): Promise<void> {
    const nowMs = this.#monotonicNow();
    if (nowMs - this.#openedAtMs >= openMs) {
      await openEpochs(this.#database);
      this.#openedAtMs = nowMs;
    }
    if (nowMs - this.#computedAtMs < lookMs) return;
    this.#computedAtMs = nowMs;
    await computeEpochs(this.#database, { limit: batchSize, everyMs });
  }
}
