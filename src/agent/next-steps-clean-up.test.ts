// What a run leaves behind, volumes and memory of GPUs, is cleaned up before the run counts as over.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { forceRetryMs, nextSteps, type RunCurrent, type RunTarget } from './next-steps.ts';
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
    removal: { count: 1, lastAtMs: 0 },
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
  const failed = { ...gone, removal: { count: 2, lastAtMs: 0 } };
  assert.deepEqual(kindsFor(failed, run, forceRetryMs - 1), []);
  assert.deepEqual(kindsFor(failed, run, forceRetryMs), ['clean_up']);
  assert.deepEqual(kindsFor({ ...gone, cleanUp: 'done' }, run), ['released']);
});

test('so do runs without a container, on the kill list, of an older attempt, and those that nobody names', () => {
  const error = { code: 'cancelled', message: 'stopped' };
  assert.deepEqual(kindsFor(aRun({ cleanUp: 'due', error, endedAtMs: 0 }), stop), ['exited', 'clean_up']);
  const due = aRun({ cleanUp: 'due' });
  assert.deepEqual(kindsFor(due, kill), ['clean_up']);
  assert.deepEqual(kindsFor(due, undefined), ['clean_up']);
  assert.deepEqual(kindsFor(due, { ...run, attempt: 2 }), ['clean_up']);
  assert.deepEqual(kindsFor(aRun({ cleanUp: 'done' }), kill), ['forget']);
});
