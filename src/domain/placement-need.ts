// What a job takes from a node: its requirements in whole units, with default shares, and the key of its shape.
import type { Requirements } from './job.ts';

/**
 * The share of a job that states no minimum. Small, so that many little jobs fit a little machine; above zero, so that
 * their number on a node has a bound. It reserves and never caps: an idle node's job still uses all of it.
 */
export const defaultCpuCount = 0.1;
export const defaultRamBytes = 256e6;
export const defaultStorageBytes = 1e9;

/** Whole units, so that sums are exact: thousandths of a CPU, bytes. */
export interface Need {
  cpuMilli: number;
  ramBytes: number;
  storageBytes: number;
  /** 0 is a CPU-only job, whatever else it says of GPUs. */
  gpuCount: number;
  /** Of each card; GB are 10^9 bytes. */
  minVramGb: number;
  gpuName: string | null;
  gpuRegistryUuid: string | null;
  /** Lower case, sorted; empty: any. */
  regions: readonly string[];
  /** Of the gateway's range, which is not any node's. */
  publicPortCount: number;
  /** Set only where it matters: the account owns nodes that take its jobs alone, or wants public ports, which rest by account. */
  accountId: string | null;
}

/** Jobs of equal need wait in one line and are skipped together. */
export function needOf(requirements: Requirements, accountId: string | null): Need {
  const hasGpus = requirements.gpuCount > 0;
  return {
    cpuMilli: toMilli(requirements.cpuCount > 0 ? requirements.cpuCount : defaultCpuCount),
    ramBytes: requirements.minRamGb > 0 ? Math.round(requirements.minRamGb * 1e9) : defaultRamBytes,
    storageBytes:
      requirements.minStorageGb > 0 ? Math.round(requirements.minStorageGb * 1e9) : defaultStorageBytes,
    gpuCount: hasGpus ? Math.ceil(requirements.gpuCount) : 0,
    minVramGb: hasGpus ? Math.max(0, requirements.minVramGb) : 0,
    gpuName: hasGpus && requirements.gpuName ? requirements.gpuName.trim() : null,
    gpuRegistryUuid: hasGpus ? (requirements.gpuRegistryUuid?.toLowerCase() ?? null) : null,
    regions: [...new Set(requirements.allowedRegionCodes.map((code) => code.toLowerCase()))].sort(),
    publicPortCount: requirements.publicPortCount ?? 0,
    accountId,
  };
}

/**
 * The key of a job's shape, under which the reason why it waits is found. Jobs of an account that owns nodes without
 * isolation have keys with their account, all others keys with null: a reader who cannot know looks for both.
 */
export function shapeKey(requirements: Requirements, accountId: string | null): string {
  return shapeKeyOf(needOf(requirements, accountId));
}

/** The same text for the same need, in any process. */
export function shapeKeyOf(need: Need): string {
  return JSON.stringify([
    need.cpuMilli,
    need.ramBytes,
    need.storageBytes,
    need.gpuCount,
    need.minVramGb,
    need.gpuName,
    need.gpuRegistryUuid,
    need.regions,
    need.publicPortCount,
    need.accountId,
  ]);
}

/** Rounded to the thousandth; what is asked for in finer steps is not told apart. */
export function toMilli(cpuCount: number): number {
  return Math.round(cpuCount * 1000);
}
