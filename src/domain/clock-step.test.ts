// Jumps of a clock that is read from afar are told from slow answers and drift.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type ClockReading, clockStep } from './clock-step.ts';

const hourMs = 3_600_000;

/** Asked at `atMs`, answered `tookMs` later by a clock that is `offsetMs` ahead, read in between. */
function reading(atMs: number, { tookMs, readAfterMs, offsetMs }: Record<string, number>): ClockReading {
  const wallMs = atMs + Math.min(readAfterMs ?? 0, tookMs ?? 0) + (offsetMs ?? 0);
  return { beforeMs: atMs, afterMs: atMs + (tookMs ?? 0), wallMs };
}

const answers = fc.record({ tookMs: fc.integer({ min: 0, max: 30_000 }), readAfterMs: fc.nat(30_000) });
const apart = fc.integer({ min: 1, max: hourMs });

test('slow answers are no jump, however slow', () => {
  fc.assert(
    fc.property(answers, answers, apart, fc.integer(), (one, two, apartMs, offsetMs) => {
      const last = reading(0, { ...one, offsetMs });
      const now = reading(last.afterMs + apartMs, { ...two, offsetMs });
      assert.equal(clockStep(last, now), 0);
    }),
  );
});

test('a jump that slow answers cannot explain is told with its size', () => {
  const jump = fc.integer({ min: 70_000, max: 10_000 * hourMs });
  fc.assert(
    fc.property(answers, answers, apart, jump, fc.boolean(), (one, two, apartMs, jumpMs, isBack) => {
      const last = reading(0, { ...one, offsetMs: 0 });
      const stepMs = isBack ? -jumpMs : jumpMs;
      const now = reading(last.afterMs + apartMs, { ...two, offsetMs: stepMs });
      assert.ok(Math.abs(clockStep(last, now) - stepMs) <= 30_000);
    }),
  );
});

test('with quick answers a jump of more than two seconds is seen, and a drift is not', () => {
  const at = (ms: number, offsetMs: number) => reading(ms, { tookMs: 2, readAfterMs: 1, offsetMs });
  assert.equal(clockStep(at(0, 0), at(1_000, 1_900)), 0);
  assert.equal(clockStep(at(0, 0), at(1_000, 2_500)), 2_500);
  assert.equal(clockStep(at(0, 0), at(1_000, -2_500)), -2_500);
});
