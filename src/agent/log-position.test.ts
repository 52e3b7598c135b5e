// Reading again from a position gives every entry that was not counted, once.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  advance,
  CountedEntries,
  earlier,
  formatPosition,
  type LogPosition,
  parsePosition,
} from './log-position.ts';

const stampOf = (tick: number) => `2026-01-31T12:00:${String(tick).padStart(2, '0')}.000000001Z`;

function resume(file: readonly string[], position: LogPosition | null): number[] {
  const counted = new CountedEntries(position);
  return file.flatMap((timestamp, index) => (counted.wasCounted(timestamp) ? [] : [index]));
}

function countUpTo(file: readonly string[], length: number): LogPosition | null {
  return file.slice(0, length).reduce<LogPosition | null>(advance, null);
}

const ticks = fc.array(fc.integer({ min: 0, max: 20 }), { maxLength: 40 });

test('with any clock, forward or back, the rest of the file is read once', () => {
  fc.assert(
    fc.property(ticks, fc.nat(40), (times, cut) => {
      const file = times.map(stampOf);
      const length = Math.min(cut, file.length);
      const expected = file.map((_, index) => index).slice(length);
      assert.deepEqual(resume(file, countUpTo(file, length)), expected);
    }),
  );
});

test('a position survives its text form', () => {
  const position = { timestamp: stampOf(7), count: 12 };
  assert.deepEqual(parsePosition(formatPosition(position)), position);
  assert.equal(parsePosition(null), null);
  assert.equal(parsePosition('yesterday/1'), null);
});

test('a position that was rotated away gives what is left and tells of the gap', () => {
  const counted = new CountedEntries({ timestamp: stampOf(3), count: 2 });
  assert.equal(counted.wasCounted(stampOf(5)), false);
  assert.equal(counted.hasGap, true);
});

test('reading starts earlier than the position, whole entries of that time included', () => {
  assert.equal(earlier(stampOf(7), 5_000), stampOf(2));
  assert.equal(earlier('1970-01-01T00:00:01.500000000Z', 60_000), '1970-01-01T00:00:00.500000000Z');
});
