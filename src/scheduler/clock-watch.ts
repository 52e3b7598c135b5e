// Watches the database's clock beside our monotonic one: when it jumps, deadlines move with it, since no time passed.
//
// Every replica watches, also one that does not lead: a jump forward may end the leader's lease, and its heir must know
// of the jump to make it good. The database sees to it that only one of them does.
import type { Logger } from 'pino';
import { moveDeadlines, readMachineClock } from '../db/clock.ts';
import type { Database } from '../db/database.ts';
import type { Leadership } from '../db/leadership.ts';
import { type ClockReading, clockStep } from '../domain/clock-step.ts';

export interface ClockWatchOptions {
  database: Database;
  monotonicNow: () => number;
  log: Logger;
}

/** An heir leads within one lease of the jump; a replica that does not by then leaves it to who does. */
const heirMs = 10_000;

export class ClockWatch {
  readonly #options: ClockWatchOptions;
  #last: ClockReading | null = null;
  /** Seen and not made good yet, by us or the leader. */
  #open: { stepMs: number; noticedAtMs: number } | null = null;

  constructor(options: ClockWatchOptions) {
    this.#options = options;
  }

  /** Makes a jump good where this replica leads. True while one is open, and with the look that closes it. */
  async look(leadership: Leadership | null): Promise<boolean> {
    const reading = await this.#read();
    const stepMs = this.#last === null ? 0 : clockStep(this.#last, reading);
    this.#last = reading;
    const nowMs = reading.afterMs;
    if (stepMs !== 0) this.#open = { stepMs: stepMs + (this.#open?.stepMs ?? 0), noticedAtMs: nowMs };
    if (this.#open === null) return false;
    if (leadership !== null) await this.#makeGood(leadership, this.#open.stepMs);
    else if (nowMs - this.#open.noticedAtMs > heirMs) this.#open = null;
    return true;
  }

  async #makeGood(leadership: Leadership, stepMs: number): Promise<void> {
    const { database, log } = this.#options;
    const isOurs = await moveDeadlines(database, leadership, stepMs);
    this.#open = null;
    if (isOurs)
      log.warn({ step_ms: Math.round(stepMs) }, "The database's clock jumped; deadlines were moved with it.");
  }

  async #read(): Promise<ClockReading> {
    const { database, monotonicNow } = this.#options;
    const beforeMs = monotonicNow();
    const wallMs = await readMachineClock(database);
    return { beforeMs, afterMs: monotonicNow(), wallMs };
  }
}
