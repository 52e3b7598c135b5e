// What a run costs an hour, in integer micro-dollars: fixed at its assignment, and never computed again.

/** Micro-dollars an hour. */
export interface Rates {
  /** Of a card whose model has no price. */
  unpricedGpuMicros: number;
  /** Of a run without GPU. */
  cpuMicros: number;
  ramGbMicros: number;
}

export const freeRates: Rates = { unpricedGpuMicros: 0, cpuMicros: 0, ramGbMicros: 0 };

export interface Priced {
  /** Of each card given; null: its model has no price. */
  gpuRatesMicros: readonly (number | null)[];
  cpuCount: number;
  ramBytes: number;
}

/** By the GPUs given, whatever else comes with them; without one by CPU and RAM reserved. */
export function hourlyRateMicros({ gpuRatesMicros, cpuCount, ramBytes }: Priced, rates: Rates): number {
  if (gpuRatesMicros.length > 0)
    return gpuRatesMicros.reduce<number>((sum, rate) => sum + (rate ?? rates.unpricedGpuMicros), 0);
  return Math.round(cpuCount * rates.cpuMicros + (ramBytes / 1e9) * rates.ramGbMicros);
}

/** Of so many milliseconds, rounded to the nearest micro-dollar; exact for any rate and time that a database holds. */
export function costMicros(rateMicros: number, durationMs: number): number {
  const product = BigInt(rateMicros) * BigInt(Math.max(0, Math.round(durationMs)));
  return Number((product + 1_800_000n) / 3_600_000n);
}

/** On the wire money is in dollars. */
export function toUsd(micros: number): number {
  return micros / 1e6;
}
