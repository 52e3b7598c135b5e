// Runs that are over on this node, remembered for a while: a stale message must not start them again.
import type { DesiredRun } from '../protocol/agent-messages.ts';
import type { Clock } from './clock.ts';
import type { RunRecord } from './run-record.ts';

interface Retired {
  record: RunRecord;
  isKilled: boolean;
  atMs: number;
}

/** They are remembered this long, and so many of them. */
const retiredMs = 60 * 60_000;
const maxRetiredCount = 10_000;

export class RetiredRuns {
  readonly #clock: Clock;
  /** By the time they ended. */
  readonly #runs = new Map<string, Retired>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  add(record: RunRecord, isKilled: boolean): void {
    this.#runs.delete(record.runUuid);
    this.#runs.set(record.runUuid, { record, isKilled, atMs: this.#clock.nowMs() });
  }

  prune(): void {
    const oldestMs = this.#clock.nowMs() - retiredMs;
    for (const [runUuid, { atMs }] of this.#runs) {
      if (atMs >= oldestMs && this.#runs.size <= maxRetiredCount) return;
      this.#runs.delete(runUuid);
    }
  }

  /** `again`: only a whole list proves that the server lost the run's end, which is then reported once more. */
  ask(
    run: DesiredRun,
    isComplete: boolean,
  ): { kind: 'over' | 'unknown' } | { kind: 'again'; record: RunRecord } {
    const retired = this.#runs.get(run.run_uuid);
    if (retired === undefined) return { kind: 'unknown' };
    const { record, isKilled } = retired;
    if (run.attempt < record.attempt) return { kind: 'over' };
    if (run.attempt === record.attempt && (isKilled || !isComplete)) return { kind: 'over' };
    this.#runs.delete(run.run_uuid);
    if (run.attempt > record.attempt) return { kind: 'unknown' };
    record.reports.exited = 'none';
    record.reports.released = 'none';
    return { kind: 'again', record };
  }
}
