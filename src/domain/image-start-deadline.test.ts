// The start timeout waits while bytes move, no longer than the cap, and never gets shorter.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { extendStartDeadline, maxStartMs } from './image-start-deadline.ts';

const told = (bytes: number) => ({ phase: 'pulling', received_bytes: bytes, total_bytes: null });
const start = { atMs: 300_000, assignedAtMs: 0, timeoutMs: 300_000 };

test('a byte that moved gives the whole start timeout again', () => {
  const extended = extendStartDeadline(start, { before: null, after: told(1), nowMs: 250_000 });
  assert.equal(extended, 550_000);
});

test('progress without new bytes changes nothing', () => {
  for (const after of [null, told(5), told(4), { phase: 'pulling' }, 'text']) {
    assert.equal(extendStartDeadline(start, { before: told(5), after, nowMs: 250_000 }), start.atMs);
  }
});

test('the deadline never passes the cap, unless the job itself asked for more, and never comes nearer', () => {
  const times = fc.record({
    atMs: fc.nat(maxStartMs * 2),
    timeoutMs: fc.integer({ min: 120_000, max: 604_800_000 }),
    nowMs: fc.nat(maxStartMs * 2),
    bytes: fc.nat(),
    more: fc.nat(),
  });
  fc.assert(
    fc.property(times, ({ atMs, timeoutMs, nowMs, bytes, more }) => {
      const extended = extendStartDeadline(
        { atMs, assignedAtMs: 0, timeoutMs },
        { before: told(bytes), after: told(bytes + more), nowMs },
      );
      assert.ok(extended >= atMs);
      assert.ok(extended <= Math.max(atMs, maxStartMs));
      if (more > 0 && nowMs + timeoutMs <= maxStartMs) assert.ok(extended >= nowMs + timeoutMs);
    }),
  );
});
