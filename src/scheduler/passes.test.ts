// Who waits for a pass, and for how long.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Sql } from '../db/database.ts';
import type { Hint } from '../db/hints.ts';
import { Passes } from './passes.ts';

interface Submitted {
  createdAtMs: number;
  ageMs: number;
}

/** Passes over one newest job of every account, with hints and time in the test's hand. */
function aScene(newest: Submitted | null) {
  const timers = new Map<() => void, number>();
  let tell = (_hint: Hint) => {};
  const sql: Sql = {
    async query<Row>() {
      if (newest === null) return [];
      return [{ created_at: newest.createdAtMs, now: newest.createdAtMs + newest.ageMs }] as Row[];
    },
  };
  const passes = new Passes({
    sql,
    hints: {
      publish: () => {},
      subscribe(listener) {
        tell = listener;
        return () => false;
      },
      close: async () => {},
    },
    timers: {
      after(delayMs, task) {
        timers.set(task, delayMs);
        return () => timers.delete(task);
      },
    },
  });
  return {
    passes,
    seen: (accountId: string, toMs: number) => tell({ kind: 'seen', accountId, toMs }),
    delays: () => [...timers.values()],
    expire() {
      for (const task of [...timers.keys()]) task();
    },
  };
}

async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  const open = Symbol('open');
  const later = new Promise((resolve) => setImmediate(() => resolve(open)));
  return (await Promise.race([promise, later])) !== open;
}

test('an account without a fresh submit never waits', async () => {
  const { passes } = aScene(null);
  assert.equal(await isSettled(passes.awaitPass('mine')), true);
});

test('a client waits for the pass that saw its newest job, and everybody with it', async () => {
  const { passes, seen } = aScene({ createdAtMs: 1_000, ageMs: 3 });
  const waiting = Promise.all([passes.awaitPass('mine'), passes.awaitPass('mine')]);
  assert.equal(await isSettled(waiting), false);
  seen('mine', 999);
  seen('other', 2_000);
  assert.equal(await isSettled(waiting), false, 'an older submit, and another account');
  seen('mine', 1_000);
  assert.equal(await isSettled(waiting), true);
  assert.equal(await isSettled(passes.awaitPass('mine')), true, 'what was seen is remembered');
});

test('without a pass the wait ends 200 ms after the submit', async () => {
  const { passes, delays, expire } = aScene({ createdAtMs: 1_000, ageMs: 150 });
  const waiting = passes.awaitPass('mine');
  assert.equal(await isSettled(waiting), false);
  assert.deepEqual(delays(), [50]);
  expire();
  assert.equal(await isSettled(waiting), true);
});

test('what was seen is forgotten in time', async () => {
  const { passes, seen, expire } = aScene({ createdAtMs: 1_000, ageMs: 0 });
  seen('mine', 1_000);
  expire();
  assert.equal(await isSettled(passes.awaitPass('mine')), false);
});
