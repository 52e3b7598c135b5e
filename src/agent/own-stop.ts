// Stops that the node decides by itself: a run takes too much of it, or the node was cut off from the server for too long.
import { cutOffCode, defaultStopGraceMs } from '../domain/transition.ts';
import type { RunError } from '../protocol/agent-messages.ts';
import { type Clock, sleep } from './clock.ts';
import { giveUp, type RunRecord } from './run-record.ts';

/** A run that takes more than it may goes on taking until then. */
export const overuseGraceMs = 2_000;
/** While it stays cut off, runs that were missed are looked for this often. */
const againMs = 1_000;

/** The run is stopped with `error` as the reason of its end; false when that was decided before. */
export function stopByItself(
  record: RunRecord,
  { error, graceMs, nowMs }: { error: RunError; graceMs: number; nowMs: number },
): boolean {
  if (record.ownStop !== null) return false;
  record.ownStop = { error, graceMs, sinceMs: nowMs };
  return true;
}

/** The node has been alone for too long: what runs is stopped with its own grace, what has not started never does. */
export function cutOff(record: RunRecord, nowMs: number): boolean {
  if (record.hasExit || record.error !== null) return false;
  const message =
    'The node was cut off from the server for longer than its operator allows, and stopped the run.';
  const error = { code: cutOffCode, message };
  if (record.container === 'running') {
    const graceMs = record.desired?.container.stop_grace_ms ?? defaultStopGraceMs;
    return stopByItself(record, { error, graceMs, nowMs });
  }
  if (record.desired === null || record.container === 'exited') return false;
  giveUp(record, error, nowMs);
  record.isPullAborted = true;
  record.pullAbort?.abort();
  return true;
}

/** Calls `onCutOff` again and again while the server has not been heard for `limitMs`, by the monotonic clock. */
export async function watchCutOff(
  {
    clock,
    limitMs,
    ...watch
  }: { clock: Clock; limitMs: number; heardAtMs: () => number; onCutOff: () => void },
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    const leftMs = watch.heardAtMs() + limitMs - clock.nowMs();
    if (leftMs <= 0) watch.onCutOff();
    await sleep(clock, leftMs > 0 ? leftMs : againMs, signal);
  }
}
