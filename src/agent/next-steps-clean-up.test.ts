// What a run leaves behind, volumes and memory of GPUs, is cleaned up before the run counts as over.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { forceRetryMs, nextSteps, type RunCurrent, type RunTarget, stuckAfterMs } from './next-steps.ts';
import { newRecord } from './run-record.ts';

const run: RunTarget = { kind: 'run', attempt: 1, mayStart: true };
const stop: RunTarget = { kind: 'stop', attempt: 1, graceMs: 10_000, requestedAtMs: 0 };
const kill: RunTarget = { kind: 'kill', attempt: 1 };

const aRun = (changes: Partial<RunCurrent>): RunCurrent => ({ ...newRecord('run-1', 1), ...changes });

/** It ended, all of it is told and stored, and its container is gone. */
function aGoneRun(changes: Partial<RunCurrent>): RunCurrent {
  const { reports } = newRecord('run-1', 1);
  return aRun({
    hasStart: true,
    hasExit: true,
    endedAtMs: 0,
    reports: { ...reports, running: 'acked', exited: 'acked' },
    log: { state: 'drained', isAcked: true },
    ...changes,
  });
}

function kindsFor(current: RunCurrent, target: RunTarget | undefined, nowMs = 0): string[] {
  const targets = new Map(target === undefined ? [] : [[current.runUuid, target]]);
  const { steps } = nextSteps({ runs: [current], connectedSinceMs: 0 }, targets, nowMs);
  return steps.map((step) => (step.kind === 'report' ? step.report : step.kind));
}

test('the release waits for it, and it is tried again while it fails', () => {
  const gone = aGoneRun({ cleanUp: 'due' });
  assert.deepEqual(kindsFor(gone, run), ['clean_up']);
  assert.deepEqual(kindsFor({ ...gone, work: 'clean_up' }, run), []);
  const failed = { ...gone, cleaning: { count: 1, lastAtMs: 0 } };
  assert.deepEqual(kindsFor(failed, run, forceRetryMs - 1), []);
  assert.deepEqual(kindsFor(failed, run, forceRetryMs), ['clean_up']);
  assert.deepEqual(kindsFor({ ...gone, cleanUp: 'done' }, run), ['released']);
});

test('so do runs without a container, on the kill list, of an older attempt, and those that nobody names', () => {
  const error = { code: 'cancelled', message: 'stopped' };
  assert.deepEqual(kindsFor(aRun({ cleanUp: 'due', error, endedAtMs: 0 }), stop), [
    'delivered',
    'exited',
    'clean_up',
  ]);
  const due = aRun({ cleanUp: 'due' });
  assert.deepEqual(kindsFor(due, kill), ['clean_up']);
  assert.deepEqual(kindsFor(due, undefined), ['clean_up']);
  assert.deepEqual(kindsFor(due, { ...run, attempt: 2 }), ['clean_up']);
});

test('a run on the kill list tells that it is gone, and is forgotten when that is heard', () => {
  const clean = aRun({ cleanUp: 'done' });
  assert.deepEqual(kindsFor(clean, kill), ['released']);
  const { reports } = clean;
  assert.deepEqual(kindsFor({ ...clean, reports: { ...reports, released: 'queued' } }, kill), []);
  assert.deepEqual(kindsFor({ ...clean, reports: { ...reports, released: 'acked' } }, kill), ['forget']);
});

test('what stands in the way of an end for longer than its bound is told once, and tried on', () => {
  const trouble = 'A process of its container lives on after KILL.';
  const left = aGoneRun({ trouble, endingSinceMs: 0, cleaning: { count: 1, lastAtMs: stuckAfterMs } });
  for (const target of [run, stop, kill]) {
    const told = (nowMs: number) => kindsFor(left, target, nowMs).filter((kind) => kind !== 'delivered');
    assert.deepEqual([told(stuckAfterMs - 1), told(stuckAfterMs)], [[], ['stuck']]);
  }
  const reports = { ...left.reports, stuck: 'acked' } as const;
  assert.deepEqual(kindsFor({ ...left, reports }, run, stuckAfterMs + forceRetryMs), ['clean_up']);
  // An engine that is merely away, and a log that is waited for, are no trouble.
  assert.deepEqual(kindsFor({ ...left, trouble: null }, run, 2 * stuckAfterMs), ['clean_up']);
  assert.deepEqual(kindsFor({ ...left, cleanUp: 'done' }, run, stuckAfterMs), ['released']);
});
