// What part of a series is shown, in which steps: so that an answer has a bounded number of points.

export interface StatsRange {
  fromMs: number;
  toMs: number;
  stepMs: number;
}

/** As asked, where it was; the rest follows from what there can be. */
export interface AskedRange {
  fromMs?: number;
  toMs?: number;
  stepMs?: number;
}

/** Samples come this often. */
export const minStepMs = 10_000;
export const maxPointCount = 2_000;
/** As many as a picture has columns worth drawing. */
const usualPointCount = 300;
const minute = 60_000;
const steps = [minStepMs, 30_000, minute, 5 * minute, 15 * minute, 60 * minute, 360 * minute, 1_440 * minute];

/** `lifeMs`: since when and until when there is anything. A sentence's middle says what was expected instead. */
export function statsRange(
  asked: AskedRange,
  life: { fromMs: number; toMs: number },
): StatsRange | { path: 'from' | 'step_ms'; expected: string } {
  const toMs = asked.toMs ?? life.toMs;
  const fromMs = asked.fromMs ?? Math.min(life.fromMs, toMs);
  if (fromMs > toMs) return { path: 'from', expected: 'a time before "to"' };
  const spanMs = toMs - fromMs;
  const stepMs = asked.stepMs ?? steps.find((step) => spanMs / step <= usualPointCount) ?? steps.at(-1);
  if (stepMs === undefined || stepMs < minStepMs)
    return { path: 'step_ms', expected: `at least ${minStepMs}` };
  const leastMs = Math.ceil(spanMs / maxPointCount);
  if (stepMs < leastMs)
    return {
      path: 'step_ms',
      expected: `at least ${leastMs}, so that there are at most ${maxPointCount} points`,
    };
  return { fromMs, toMs, stepMs };
}
