// What the API may know of the leader's passes, on whatever replica it asks: whether one has looked at what was submitted.
import type { Sql } from '../db/database.ts';
import type { Hints } from '../db/hints.ts';
import { findNewestPending } from '../db/placement.ts';
import type { Timers } from '../domain/timers.ts';

/** A client that polls right after its submit waits at most this long for a pass. */
const patienceMs = 200;
/** What was seen is remembered a little longer than anybody may wait for it. */
const rememberedMs = 1_000;

interface Waiting {
  accountId: string;
  createdAtMs: number;
  resolve: () => void;
}

export class Passes {
  readonly #sql: Sql;
  readonly #timers: Timers;
  /** By account: up to which submit, by the database's time, a pass has looked. */
  readonly #seenToMs = new Map<string, number>();
  readonly #waiting = new Set<Waiting>();

  constructor({ sql, hints, timers }: { sql: Sql; hints: Hints; timers: Timers }) {
    this.#sql = sql;
    this.#timers = timers;
    hints.subscribe((hint) => {
      if (hint.kind === 'seen') this.#note(hint.accountId, hint.toMs);
    });
  }

  /** Resolves when a pass has looked at every job of the account, at the latest 200 ms after the newest was submitted. */
  async awaitPass(accountId: string): Promise<void> {
    const newest = await findNewestPending(this.#sql, { accountId, withinMs: patienceMs });
    if (newest === null || this.#hasSeen(accountId, newest.createdAtMs)) return;
    await this.#seen({ accountId, createdAtMs: newest.createdAtMs }, patienceMs - newest.ageMs);
  }

  #note(accountId: string, toMs: number): void {
    this.#seenToMs.set(accountId, toMs);
    this.#timers.after(rememberedMs, () => {
      if (this.#seenToMs.get(accountId) === toMs) this.#seenToMs.delete(accountId);
    });
    for (const waiting of this.#waiting)
      if (waiting.accountId === accountId && waiting.createdAtMs <= toMs) waiting.resolve();
  }

  #hasSeen(accountId: string, createdAtMs: number): boolean {
    return (this.#seenToMs.get(accountId) ?? Number.NEGATIVE_INFINITY) >= createdAtMs;
  }

  #seen(job: Omit<Waiting, 'resolve'>, limitMs: number): Promise<void> {
    return new Promise((settle) => {
      const resolve = () => {
        cancel();
        this.#waiting.delete(waiting);
        settle();
      };
      const waiting = { ...job, resolve };
      const cancel = this.#timers.after(limitMs, resolve);
      this.#waiting.add(waiting);
    });
  }
}
