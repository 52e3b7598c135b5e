// Weeks of nodes: every time lies in exactly one, which begins on a Sunday, and earnings are exact.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { earnedMicros, epochMs, epochStart } from './epoch.ts';

test('every time lies in one week, which begins on a Sunday at midnight UTC', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 1e13 }), (atMs) => {
      const startMs = epochStart(atMs);
      assert.ok(startMs <= atMs && atMs < startMs + epochMs);
      const start = new Date(startMs);
      assert.deepEqual([start.getUTCDay(), start.toISOString().slice(11)], [0, '00:00:00.000Z']);
      assert.equal(epochStart(startMs), startMs);
      assert.equal(epochStart(startMs + epochMs), startMs + epochMs);
    }),
  );
  assert.equal(new Date(epochStart(Date.UTC(2026, 10, 23))).toISOString(), '2026-11-22T00:00:00.000Z');
});

test('an operator earns by each kind of hours', () => {
  const hours = { availableMs: 10 * 3_600_000, preparedMs: 1_800_000, workedMs: 4 * 3_600_000 };
  const rates = { availableMicros: 10_000, preparedMicros: 20_000, workedMicros: 300_000 };
  assert.equal(earnedMicros(hours, rates), 100_000 + 10_000 + 1_200_000);
});
