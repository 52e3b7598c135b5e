// The guard of GPUs by hand: what it reads is given, time passes when the test says so, and its file survives it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Clock } from './clock.ts';
import { GpuGuard } from './gpu-guard.ts';
import type { GpuUse } from './gpu-use.ts';
import { RuntimeError } from './runtime.ts';
import type { StateFile } from './state-file.ts';

function aNode() {
  let nowMs = 0;
  let stored: string | null = null;
  const uses = new Map<string, GpuUse>();
  const clock: Clock = {
    nowMs: () => nowMs,
    wallMs: () => nowMs,
    after(delayMs, task) {
      nowMs += delayMs;
      setImmediate(task);
      return () => {};
    },
  };
  const stateFile: StateFile = {
    read: () => (stored === null ? null : { content: JSON.parse(stored) }),
    write: (content) => {
      stored = JSON.stringify(content);
    },
  };
  const quiet = () => {};
  const log = { debug: quiet, info: quiet, warn: quiet, error: quiet };
  const readUse = () => Promise.resolve(new Map(structuredClone([...uses])));
  return {
    use: (uuid: string, usedMib: number, pids: number[] = []) => uses.set(uuid, { uuid, usedMib, pids }),
    lose: (uuid: string) => uses.delete(uuid),
    start: () => new GpuGuard({ clock, log, stateFile, readUse }),
    elapsedMs: () => nowMs,
  };
}

const healthOf = (guard: GpuGuard, uuid: string) =>
  guard.tell([{ index: 0, uuid, name: 'T4', vram_mib: 15_360, driver_version: null }])[0]?.health;
const statesAfter = async (guard: GpuGuard, runUuid: string) =>
  (await guard.finish(runUuid)).map(({ state }) => state);
const isQuarantined = (error: unknown) => error instanceof RuntimeError && error.code === 'gpu_quarantined';

test('clean at once, the run is over at once', async () => {
  const node = aNode();
  node.use('GPU-1', 10);
  const guard = node.start();
  await guard.begin('run-1', ['GPU-1']);
  const clean = { uuid: 'GPU-1', state: 'clean', why: null, baselineMib: 10, usedMib: 10 };
  assert.deepEqual(await guard.finish('run-1'), [clean]);
  assert.equal(node.elapsedMs(), 0);
  assert.deepEqual(await guard.finish('run-2'), []);
  // An agent that was killed before it could tell looks again.
  assert.deepEqual(await node.start().finish('run-1'), [clean]);
});

test('a dirty one is waited for ten seconds, then quarantined alone; the guard’s next life knows', async () => {
  const node = aNode();
  node.use('GPU-1', 10);
  node.use('GPU-2', 10);
  const guard = node.start();
  await guard.begin('run-1', ['GPU-1', 'GPU-2']);
  node.use('GPU-1', 900);
  assert.deepEqual(await statesAfter(guard, 'run-1'), ['dirty', 'clean']);
  assert.equal(node.elapsedMs(), 10_000);
  const next = node.start();
  assert.deepEqual([healthOf(next, 'GPU-1'), healthOf(next, 'GPU-2')], ['quarantined', 'ok']);
  await assert.rejects(next.begin('run-2', ['GPU-2', 'GPU-1']), isQuarantined);
  assert.equal(await next.recheck(), false);
  node.use('GPU-1', 10);
  assert.equal(await next.recheck(), true);
  assert.equal(healthOf(next, 'GPU-1'), 'ok');
  await next.begin('run-2', ['GPU-1']);
});

test('a run that nobody saw end does not pass its leftovers on', async () => {
  const node = aNode();
  node.use('GPU-1', 10);
  await node.start().begin('run-1', ['GPU-1']);
  node.use('GPU-1', 5_000);
  const next = node.start();
  // The same run after a restart of its agent: what it uses is its own.
  await next.begin('run-1', ['GPU-1']);
  await assert.rejects(next.begin('run-2', ['GPU-1']), isQuarantined);
  assert.equal(healthOf(next, 'GPU-1'), 'quarantined');
  node.use('GPU-1', 12);
  assert.equal(await next.recheck(), true);
  await next.begin('run-2', ['GPU-1']);
  assert.deepEqual(await statesAfter(next, 'run-2'), ['clean']);
});

test('what is in use before the first run is the operator’s own', async () => {
  const node = aNode();
  node.use('GPU-1', 2_000, [7]);
  const guard = node.start();
  await guard.begin('run-1', ['GPU-1']);
  assert.deepEqual(await statesAfter(guard, 'run-1'), ['clean']);
});

test('one whose run does not end is quarantined until it is seen clean after that run', async () => {
  const node = aNode();
  node.use('GPU-1', 10);
  const guard = node.start();
  await guard.begin('run-1', ['GPU-1']);
  guard.quarantine('run-1', 'a process of it does not die');
  assert.equal(healthOf(guard, 'GPU-1'), 'quarantined');
  assert.equal(await guard.recheck(), false);
  await assert.rejects(guard.begin('run-2', ['GPU-1']), isQuarantined);
  assert.deepEqual(await statesAfter(guard, 'run-1'), ['clean']);
  assert.equal(await guard.recheck(), true);
  await guard.begin('run-2', ['GPU-1']);
});

test('one that is lost under its run is told with the reason until it is back and clean', async () => {
  const node = aNode();
  const cards = ['GPU-1', 'GPU-2', 'GPU-3'].map((uuid, index) => ({
    ...{ index, uuid, name: 'T4', vram_mib: 15_360, driver_version: null },
  }));
  const [first, second, third] = cards;
  assert.ok(first && second && third);
  for (const { uuid } of cards) node.use(uuid, 10);
  const guard = node.start();
  const told = (there: typeof cards) => guard.tell(there).map(({ uuid, health }) => [uuid, health]);
  guard.tell(cards);
  await guard.begin('run-1', ['GPU-2']);
  // Idle ones that are not there are simply not there.
  assert.deepEqual(told([first]), [
    ['GPU-1', 'ok'],
    ['GPU-2', 'quarantined'],
  ]);
  assert.match(guard.tell([])[0]?.health_reason ?? '', /^GPU GPU-2: .* any more, while job run run-1 has it/);
  assert.deepEqual(told(cards), [
    ['GPU-1', 'ok'],
    ['GPU-2', 'ok'],
    ['GPU-3', 'ok'],
  ]);
  node.lose('GPU-2');
  assert.deepEqual(await statesAfter(guard, 'run-1'), ['not_seen']);
  assert.deepEqual(told([first, third]), [
    ['GPU-1', 'ok'],
    ['GPU-2', 'quarantined'],
    ['GPU-3', 'ok'],
  ]);
  await assert.rejects(guard.begin('run-2', ['GPU-2']), isQuarantined);
  assert.equal(await guard.recheck(), false);
  node.use('GPU-2', 4);
  assert.equal(await guard.recheck(), true);
  assert.equal(healthOf(guard, 'GPU-2'), 'ok');
});
