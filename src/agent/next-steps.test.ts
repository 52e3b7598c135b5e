// The agent's rules: what is asked for in each situation, and what never happens in any.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  forceRetryMs,
  lateGraceMs,
  logBoundMs,
  maxStartsAtOnce,
  nextSteps,
  orphanKeptMs,
  type RunCurrent,
  type RunTarget,
  type Step,
} from './next-steps.ts';
import { overuseGraceMs } from './own-stop.ts';
import { newRecord } from './run-record.ts';

const run: RunTarget = { kind: 'run', attempt: 1, mayStart: true };
const running: RunTarget = { kind: 'run', attempt: 1, mayStart: false };
const stop: Extract<RunTarget, { kind: 'stop' }> = {
  kind: 'stop',
  attempt: 1,
  graceMs: 10_000,
  requestedAtMs: 0,
};
const kill: RunTarget = { kind: 'kill', attempt: 1 };

function aRun(changes: Partial<RunCurrent> = {}): RunCurrent {
  return { ...newRecord('run-1', 1), ...changes };
}

function aLivingRun(changes: Partial<RunCurrent> = {}): RunCurrent {
  const { reports } = newRecord('run-1', 1);
  return aRun({
    container: 'running',
    hasStart: true,
    isImageReady: true,
    reports: { ...reports, running: 'acked' },
    log: { state: 'shipping', isAcked: true },
    ...changes,
  });
}

function anEndedRun(changes: Partial<RunCurrent> = {}): RunCurrent {
  const { reports } = newRecord('run-1', 1);
  return aLivingRun({
    container: 'exited',
    hasExit: true,
    endedAtMs: 0,
    reports: { ...reports, running: 'acked', exited: 'acked' },
    log: { state: 'drained', isAcked: true },
    ...changes,
  });
}

interface Situation {
  target?: RunTarget | undefined;
  nowMs?: number;
  connectedSinceMs?: number | null;
}

function stepsFor(current: RunCurrent, { target, nowMs = 0, connectedSinceMs = 0 }: Situation): Step[] {
  const targets = new Map(target === undefined ? [] : [[current.runUuid, target]]);
  return nextSteps({ runs: [current], connectedSinceMs }, targets, nowMs).steps;
}

/** That a stop was heard of is told at once, beside every other step. */
const heard = { delivered: 'acked' } as const;

function expectSteps(current: RunCurrent, situation: Situation, expected: string[]): void {
  const steps = stepsFor({ ...current, reports: { ...current.reports, ...heard } }, situation);
  const told = steps.map((step) => {
    if (step.kind === 'report') return `report ${step.report}`;
    return step.kind === 'give_up' ? `give_up ${step.code}` : step.kind;
  });
  assert.deepEqual(told, expected);
}

test('a new run is pulled, then started, then its log is shipped', () => {
  expectSteps(aRun(), { target: run }, ['pull']);
  expectSteps(aRun({ isImageReady: true }), { target: run }, ['create_and_start']);
  expectSteps(aRun({ isImageReady: true, container: 'created' }), { target: run }, ['create_and_start']);
  expectSteps(aRun({ container: 'running', hasStart: true }), { target: running }, [
    'report running',
    'ship_logs',
  ]);
});

test('an unknown outcome of a start is looked at before another', () => {
  expectSteps(aRun({ isImageReady: true, container: 'created', needsInspect: true }), { target: run }, [
    'inspect',
  ]);
  expectSteps(aRun({ isImageReady: true, container: 'created', isInspecting: true }), { target: run }, []);
});

test('a run that the server knows as running and that is not there has disappeared', () => {
  expectSteps(aRun(), { target: running }, ['give_up container_disappeared']);
  expectSteps(aLivingRun({ container: 'absent' }), { target: running }, [
    'drain_logs',
    'give_up container_disappeared',
  ]);
});

test('a container that is gone after its start was asked for is not started again', () => {
  const gone = { isImageReady: true, isStartAsked: true } as const;
  expectSteps(aRun({ ...gone, needsInspect: true, container: 'created' }), { target: run }, ['inspect']);
  expectSteps(aRun(gone), { target: run }, ['give_up container_disappeared']);
  expectSteps(aRun({ ...gone, container: 'created' }), { target: run }, ['create_and_start']);
});

test('no more than four containers start at once', () => {
  const runs = Array.from({ length: 9 }, (_, n) => aRun({ runUuid: `run-${n}`, isImageReady: true }));
  if (runs[0] !== undefined) runs[0].work = 'create_and_start';
  const targets = new Map(runs.map(({ runUuid }) => [runUuid, run]));
  const { steps } = nextSteps({ runs, connectedSinceMs: 0 }, targets, 0);
  assert.equal(steps.length, maxStartsAtOnce - 1);
});

test('the stop ladder: signal, grace, KILL three times, then removal and the cgroup by turns', () => {
  expectSteps(aLivingRun(), { target: stop }, ['signal']);
  const signalled = aLivingRun({
    signalledAtMs: 0,
    reports: { ...newRecord('', 1).reports, running: 'acked', signalled: 'acked' },
  });
  expectSteps(signalled, { target: stop, nowMs: 9_999 }, []);
  expectSteps(signalled, { target: stop, nowMs: 10_000 }, ['kill']);
  const killed: RunCurrent = { ...signalled, reports: { ...signalled.reports, killed: 'acked' } };
  const rungs = [1, 2, 3, 4, 5].map((count) => {
    const reports = { ...killed.reports, ...heard };
    const current: RunCurrent = { ...killed, reports, force: { count, lastAtMs: 0 } };
    assert.deepEqual(stepsFor(current, { target: stop, nowMs: forceRetryMs - 1 }), []);
    return stepsFor(current, { target: stop, nowMs: forceRetryMs })[0]?.kind;
  });
  assert.deepEqual(rungs, ['kill', 'kill', 'remove', 'kill_processes', 'remove']);
});

test('without grace the first rung is KILL; a late stop still gives a short grace', () => {
  expectSteps(aLivingRun(), { target: { ...stop, graceMs: 0 } }, ['kill']);
  const late = aLivingRun({
    signalledAtMs: 60_000,
    reports: { ...newRecord('', 1).reports, running: 'acked', signalled: 'acked' },
  });
  expectSteps(late, { target: stop, nowMs: 60_000 + lateGraceMs - 1 }, []);
  expectSteps(late, { target: stop, nowMs: 60_000 + lateGraceMs }, ['kill']);
});

test('a stop before the start ends the run at once; a pull is aborted first', () => {
  expectSteps(aRun({ work: 'pull' }), { target: stop }, ['abort_pull']);
  expectSteps(aRun({ work: 'pull', isPullAborted: true }), { target: stop }, []);
  expectSteps(aRun(), { target: stop }, ['give_up cancelled']);
  const given = aRun({ error: { code: 'cancelled', message: '' }, endedAtMs: 0 });
  expectSteps(given, { target: stop }, ['report exited', 'clean_up']);
  expectSteps({ ...given, cleanUp: 'done' }, { target: stop }, ['report exited', 'report released']);
});

test('a stop is told as delivered, signalled and killed when that is so, not when it was tried', () => {
  const told = (changes: Partial<RunCurrent>) =>
    stepsFor(aLivingRun(changes), { target: { ...stop, graceMs: 60_000 } }).flatMap((step) =>
      step.kind === 'report' ? [step.report] : [],
    );
  assert.deepEqual(told({ signalledAtMs: 0 }), ['delivered']);
  assert.deepEqual(told({ signalledAtMs: 0, isSignalled: true }), ['delivered', 'signalled']);
  const force = { count: 1, lastAtMs: 0 };
  assert.deepEqual(told({ force }), ['delivered']);
  assert.deepEqual(told({ force, isKilled: true }), ['delivered', 'killed']);
});

test('a container is removed when exit and log are stored, or when the bound is reached', () => {
  const unstored = anEndedRun({ log: { state: 'drained', isAcked: false } });
  expectSteps(anEndedRun(), { target: running }, ['remove']);
  expectSteps(unstored, { target: running, nowMs: logBoundMs - 1 }, []);
  expectSteps(unstored, { target: running, nowMs: logBoundMs }, ['remove']);
  expectSteps(unstored, { target: running, nowMs: 10 * logBoundMs, connectedSinceMs: null }, []);
  expectSteps(unstored, { target: running, nowMs: logBoundMs + 9, connectedSinceMs: 10 }, []);
});

test('a container that never started goes at once, then the run is released', () => {
  const failed = aRun({ container: 'created', error: { code: 'bad_command', message: '' }, endedAtMs: 0 });
  expectSteps(failed, { target: run }, ['report exited', 'remove']);
  expectSteps({ ...failed, container: 'absent' }, { target: run }, ['report exited', 'clean_up']);
});

test('the kill list removes without a word, and tries again while that fails', () => {
  expectSteps(aLivingRun({ reports: newRecord('', 1).reports }), { target: kill }, ['remove']);
  expectSteps(aLivingRun({ removal: { count: 1, lastAtMs: 0 } }), { target: kill }, []);
  const tries = [1, 2, 3].map(
    (count) =>
      stepsFor(aLivingRun({ removal: { count, lastAtMs: 0 } }), { target: kill, nowMs: forceRetryMs })[0]
        ?.kind,
  );
  assert.deepEqual(tries, ['remove', 'kill_processes', 'remove']);
});

test('an orphan is kept for a while, then removed', () => {
  const orphan = aLivingRun({ orphanSinceMs: 1 });
  expectSteps(orphan, { nowMs: orphanKeptMs }, []);
  expectSteps(orphan, { nowMs: orphanKeptMs + 1 }, ['remove']);
  expectSteps(aLivingRun(), { nowMs: 10 * orphanKeptMs }, []);
});

test('an older attempt changes nothing; a newer one waits until the older container is gone', () => {
  const second = aLivingRun({ attempt: 2 });
  expectSteps(second, { target: stop }, []);
  expectSteps(second, { target: kill }, []);
  expectSteps(aLivingRun(), { target: { ...run, attempt: 2 } }, ['remove']);
  expectSteps(aRun({ cleanUp: 'done' }), { target: { ...run, attempt: 2 } }, ['renew']);
});

test('a run that takes more than it may is stopped by the ladder, and no other step of a stop is told', () => {
  const overused = aLivingRun({ ownStop: { sinceMs: 1_000, graceMs: overuseGraceMs } });
  expectSteps(aLivingRun(), { target: running, nowMs: 1_000 }, []);
  expectSteps(overused, { target: running, nowMs: 1_000 }, ['signal']);
  const signalled = { ...overused, signalledAtMs: 1_000 };
  expectSteps(signalled, { target: running, nowMs: 1_000 + overuseGraceMs - 1 }, []);
  expectSteps(signalled, { target: running, nowMs: 1_000 + overuseGraceMs }, ['kill']);
});
