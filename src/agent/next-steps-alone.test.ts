// The agent's rules where its server cannot be believed or heard: a restored database, and a node that is cut off.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  forceRetryMs,
  lateGraceMs,
  nextSteps,
  orphanKeptMs,
  type RunCurrent,
  type RunTarget,
} from './next-steps.ts';
import { newRecord } from './run-record.ts';

const run: RunTarget = { kind: 'run', attempt: 1, mayStart: true };
const running: RunTarget = { kind: 'run', attempt: 1, mayStart: false };
const stop: RunTarget = { kind: 'stop', attempt: 1, graceMs: 10_000, requestedAtMs: 0 };
const kill: RunTarget = { kind: 'kill', attempt: 1 };

const aRun = (changes: Partial<RunCurrent>): RunCurrent => ({ ...newRecord('run-1', 1), ...changes });
const living = aRun({ container: 'running', hasStart: true, isImageReady: true });

interface Situation {
  isHeld?: boolean;
  nowMs?: number;
}

function kindsFor(
  current: RunCurrent,
  target: RunTarget | undefined,
  { isHeld = true, nowMs = 0 }: Situation = {},
): string[] {
  const targets = new Map(target === undefined ? [] : [[current.runUuid, target]]);
  const { steps } = nextSteps({ runs: [current], connectedSinceMs: 0, isHeld }, targets, nowMs);
  return steps.map((step) => step.kind);
}

test('while the word is awaited neither an orphan nor a run of the kill list is removed', () => {
  const orphan = { ...living, orphanSinceMs: 0 };
  const late = { nowMs: 10 * orphanKeptMs };
  assert.deepEqual(kindsFor(orphan, undefined, late), []);
  assert.deepEqual(kindsFor(living, kill), []);
  assert.deepEqual(kindsFor(orphan, undefined, { ...late, isHeld: false }), ['remove']);
  assert.deepEqual(kindsFor(living, kill, { isHeld: false }), ['remove']);
});

test('what a run without a container left behind stays, too', () => {
  const gone = aRun({ cleanUp: 'due' });
  assert.deepEqual(kindsFor(gone, undefined), []);
  assert.deepEqual(kindsFor(gone, undefined, { isHeld: false }), ['clean_up']);
});

test('a pull that nobody wants any more is aborted meanwhile: it removes nothing', () => {
  const pulling = aRun({ work: 'pull', orphanSinceMs: 0 });
  assert.deepEqual(kindsFor(pulling, undefined), ['abort_pull']);
  assert.deepEqual(kindsFor(aRun({ work: 'pull' }), kill), ['abort_pull']);
});

test('runs that the server names go on, are stopped and removed as ever', () => {
  assert.deepEqual(kindsFor(aRun({}), run), ['pull']);
  assert.ok(kindsFor(living, stop).includes('signal'));
  const ended = aRun({ container: 'created', error: { code: 'x', message: 'x' } });
  assert.ok(kindsFor(ended, running).includes('remove'));
});

test('no state whatever makes a step that removes a run which the server does not name as live', () => {
  const removing = ['remove', 'kill', 'kill_processes', 'clean_up', 'forget'];
  const anyRun = fc.record({
    container: fc.constantFrom('absent' as const, 'created' as const, 'running' as const, 'exited' as const),
    hasStart: fc.boolean(),
    hasExit: fc.boolean(),
    orphanSinceMs: fc.constantFrom(null, 0),
    cleanUp: fc.constantFrom('due' as const, 'done' as const),
    removal: fc.record({ count: fc.nat(5), lastAtMs: fc.nat(10_000) }),
  });
  fc.assert(
    fc.property(anyRun, fc.constantFrom(undefined, kill), fc.nat(10 ** 9), (changes, target, nowMs) => {
      const steps = kindsFor(aRun(changes), target, { nowMs });
      assert.deepEqual(
        steps.filter((kind) => removing.includes(kind)),
        [],
      );
    }),
  );
});

test('a run that the node stops itself gets its own grace, also when an earlier life of the agent started it', () => {
  const stopped = { ...living, ownStop: { sinceMs: 1_000, graceMs: 5_000 } };
  for (const target of [running, undefined]) {
    const at = (nowMs: number, changes: Partial<RunCurrent> = {}) =>
      kindsFor({ ...stopped, ...changes }, target, { isHeld: false, nowMs }).filter((it) =>
        /signal|kill/.test(it),
      );
    assert.deepEqual(at(1_000), ['signal']);
    const signalled = { signalledAtMs: 1_000 };
    assert.deepEqual(at(5_999, signalled), []);
    assert.deepEqual(at(6_000, signalled), ['kill']);
    assert.deepEqual(at(6_000 + forceRetryMs, { ...signalled, force: { count: 1, lastAtMs: 6_000 } }), [
      'kill',
    ]);
    const late = { signalledAtMs: 60_000 };
    assert.deepEqual(at(60_000 + lateGraceMs - 1, late), [], 'who hears of it late gets a moment');
    assert.deepEqual(at(2_000, { work: 'signal' }), [], 'one piece of work at a time');
  }
  assert.deepEqual(kindsFor({ ...stopped, container: 'exited' }, undefined, { isHeld: false }), []);
});
