// A node's week: from Sunday 00:00 UTC, 168 hours, and what its operator earns in it.

/** Micro-dollars an hour. */
export interface NodeRates {
  /** It could take work. */
  availableMicros: number;
  /** It fetched images and volumes for runs. */
  preparedMicros: number;
  /** A container ran on it. */
  workedMicros: number;
}

export interface NodeHours {
  availableMs: number;
  preparedMs: number;
  workedMs: number;
}

const dayMs = 86_400_000;
export const epochMs = 7 * dayMs;
/** 1 January 1970 was a Thursday: the first Sunday came three days later. */
const firstSundayMs = 3 * dayMs;

/** The Sunday 00:00 UTC at or before that time. Epoch milliseconds. */
export function epochStart(atMs: number): number {
  return firstSundayMs + Math.floor((atMs - firstSundayMs) / epochMs) * epochMs;
}

/** Each kind of hours by its own rate, to the nearest micro-dollar. */
export function earnedMicros(hours: NodeHours, rates: NodeRates): number {
  const product =
    BigInt(rates.availableMicros) * BigInt(hours.availableMs) +
    BigInt(rates.preparedMicros) * BigInt(hours.preparedMs) +
    BigInt(rates.workedMicros) * BigInt(hours.workedMs);
  return Number((product + 1_800_000n) / 3_600_000n);
}
