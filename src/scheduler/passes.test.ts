// Who waits for a pass, and for how long.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Passes } from './passes.ts';

/** Passes with a clock that the test moves. */
function aClock() {
  const clock = { nowMs: 1000 };
  return { clock, passes: new Passes(() => clock.nowMs) };
}

async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  const open = Symbol('open');
  const later = new Promise((resolve) => setImmediate(() => resolve(open)));
  return (await Promise.race([promise, later])) !== open;
}

test('an account without a submit never waits', async () => {
  const { passes } = aClock();
  passes.noteSubmit('other');
  assert.equal(await isSettled(passes.awaitPass('mine')), true);
});

test('a client waits for a pass that began after its submit', async () => {
  const { clock, passes } = aClock();
  passes.noteSubmit('mine');
  const waiting = passes.awaitPass('mine');
  passes.complete(999);
  assert.equal(await isSettled(waiting), false, 'a pass from before the submit cannot have seen it');
  clock.nowMs = 1010;
  passes.complete(1005);
  assert.equal(await isSettled(waiting), true);
});

test('one pass wakes everybody, and an account it served waits no more', async () => {
  const { clock, passes } = aClock();
  passes.noteSubmit('a');
  passes.noteSubmit('b');
  const waiting = Promise.all([passes.awaitPass('a'), passes.awaitPass('a'), passes.awaitPass('b')]);
  clock.nowMs = 1001;
  passes.complete(1001);
  assert.equal(await isSettled(waiting), true);
  assert.equal(await isSettled(passes.awaitPass('a')), true);
});

test('without a pass the wait ends after 200 ms, once for the account', async () => {
  const { clock, passes } = aClock();
  passes.noteSubmit('mine');
  clock.nowMs = 1199;
  const waiting = passes.awaitPass('mine');
  clock.nowMs = 1200;
  await waiting;
  assert.equal(await isSettled(passes.awaitPass('mine')), true);
});
