// Durations: every form people write, refusals, and how they are printed.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatAge, formatDuration, parseDurationMs } from './duration.ts';

test('reads units alone and combined', () => {
  assert.equal(parseDurationMs('500ms'), 500);
  assert.equal(parseDurationMs('30s'), 30_000);
  assert.equal(parseDurationMs('5m'), 300_000);
  assert.equal(parseDurationMs('2h'), 7_200_000);
  assert.equal(parseDurationMs('1h30m'), 5_400_000);
  assert.equal(parseDurationMs('7d'), 604_800_000);
  assert.equal(parseDurationMs('1.5h'), 5_400_000);
  assert.equal(parseDurationMs('0s'), 0);
});

test('refuses what has no unit or is not wholly a duration', () => {
  for (const text of ['', '90', 's', '5 m', '-5m', '5m!', '1e3s', '5minutes', 'm5']) {
    assert.throws(() => parseDurationMs(text), /is not a duration: write it like 30s/, text);
  }
});

test('reads back whole seconds that it printed below an hour', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 3_599 }), (seconds) => {
      assert.equal(parseDurationMs(formatDuration(seconds * 1_000).replace(' ', '')), seconds * 1_000);
    }),
  );
});

test('prints at most two units, rounded down', () => {
  assert.equal(formatDuration(45.4), '45ms');
  assert.equal(formatDuration(3_290), '3.2s');
  assert.equal(formatDuration(2_000), '2s');
  assert.equal(formatDuration(59_999), '59s');
  assert.equal(formatDuration(250_000), '4m 10s');
  assert.equal(formatDuration(7_500_000), '2h 5m');
  assert.equal(formatDuration(273_600_000), '3d 4h');
});

test('prints ages in one unit', () => {
  assert.deepEqual([-5, 12_000, 180_000, 3_600_000, 47 * 3_600_000, 200 * 3_600_000].map(formatAge), [
    '0s',
    '12s',
    '3m',
    '1h',
    '47h',
    '8d',
  ]);
});
