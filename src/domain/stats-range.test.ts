// Ranges of series: never too many points, whatever is asked, and what was asked is kept.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { maxPointCount, minStepMs, statsRange } from './stats-range.ts';

const life = { fromMs: 1_000_000, toMs: 1_600_000 };
const hour = 3_600_000;

test('nothing asked: the whole life in samples', () => {
  assert.deepEqual(statsRange({}, life), { ...life, stepMs: minStepMs });
});

test('a long life gets longer steps', () => {
  assert.deepEqual(statsRange({}, { fromMs: 0, toMs: 24 * hour }), {
    ...{ fromMs: 0, toMs: 24 * hour, stepMs: 300_000 },
  });
});

test('an end before the start, and steps too short for the span, are told', () => {
  assert.deepEqual(statsRange({ fromMs: 5, toMs: 4 }, life), {
    path: 'from',
    expected: 'a time before "to"',
  });
  assert.deepEqual(statsRange({ fromMs: 0, toMs: 4, stepMs: 9_999 }, life), {
    ...{ path: 'step_ms', expected: 'at least 10000' },
  });
  assert.deepEqual(statsRange({ fromMs: 0, toMs: 720 * hour, stepMs: minStepMs }, life), {
    path: 'step_ms',
    expected: 'at least 1296000, so that there are at most 2000 points',
  });
});

test('an answer never has more points than the bound, and covers what was asked', () => {
  const times = fc.option(fc.integer({ min: 0, max: 4e12 }), { nil: undefined });
  fc.assert(
    fc.property(
      times,
      times,
      fc.option(fc.integer({ min: 1, max: 1e9 }), { nil: undefined }),
      (from, to, step) => {
        const asked = {
          ...(from === undefined ? {} : { fromMs: from }),
          ...(to === undefined ? {} : { toMs: to }),
          ...(step === undefined ? {} : { stepMs: step }),
        };
        const range = statsRange(asked, life);
        if ('path' in range) return range.path === 'step_ms' || (from ?? life.fromMs) > (to ?? life.toMs);
        const isKept =
          (from ?? range.fromMs) === range.fromMs &&
          (to ?? range.toMs) === range.toMs &&
          (step ?? range.stepMs) === range.stepMs;
        return isKept && (range.toMs - range.fromMs) / range.stepMs <= maxPointCount;
      },
    ),
  );
});
