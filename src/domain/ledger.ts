// What a run costs, computed from its own row: the rule that the ledger's entries are held against.
import { costMicros } from './price.ts';

/** Times in epoch microseconds, as the database keeps them. */
export interface BilledRun {
  startedAtUs: number | null;
  endedAtUs: number | null;
  stopRequestedAtUs: number | null;
  stopGraceMs: number;
  rateMicros: number;
}

/** Whole milliseconds: from the container's start to its observed end, and after a stop no longer than its grace. */
export function billedMs(run: BilledRun, nowUs: number): number {
  if (run.startedAtUs === null) return 0;
  const end = run.endedAtUs ?? nowUs;
  const latest =
    run.stopRequestedAtUs === null
      ? Number.POSITIVE_INFINITY
      : run.stopRequestedAtUs + run.stopGraceMs * 1000;
  return Math.max(0, Math.floor((Math.min(end, latest) - run.startedAtUs) / 1000));
}

/** Micro-dollars. */
export function costOf(run: BilledRun, nowUs: number): number {
  return costMicros(run.rateMicros, billedMs(run, nowUs));
}
