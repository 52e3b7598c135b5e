// Whether a wall clock that is read from afar jumped, judged by a monotonic clock at hand.

/** Clocks drift by less between two readings; a larger step is a jump. */
const maxDriftMs = 2_000;

/** One reading; `wallMs` was true at some moment between the two monotonic times. */
export interface ClockReading {
  beforeMs: number;
  afterMs: number;
  wallMs: number;
}

/** By how much the clock jumped between the readings; 0 where slow answers and drift explain it. */
export function clockStep(last: ClockReading, now: ClockReading): number {
  const leastMs = now.wallMs - now.afterMs - (last.wallMs - last.beforeMs);
  const mostMs = now.wallMs - now.beforeMs - (last.wallMs - last.afterMs);
  if (leastMs <= maxDriftMs && mostMs >= -maxDriftMs) return 0;
  return (leastMs + mostMs) / 2;
}
