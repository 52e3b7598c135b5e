// Builders for tests of placement: nodes and jobs that say only what the test is about.
import type { Requirements } from './job.ts';
import type { PendingJob, PlacementGpu, PlacementNode } from './placement-model.ts';

export type NodeWish = Partial<Omit<PlacementNode, 'gpus'>> & {
  gpus?: readonly Partial<PlacementGpu>[] | number;
};

/** A free, isolated node with 16 CPUs, 64 GB RAM and 1 TB of storage; `gpus` as a number are 4090s. */
export function aNode(wish: NodeWish = {}): PlacementNode {
  const { gpus = 0, ...rest } = wish;
  const id = wish.id ?? 'node-1';
  const cards: readonly Partial<PlacementGpu>[] =
    typeof gpus === 'number' ? Array.from({ length: gpus }, () => ({})) : gpus;
  const cpuCount = wish.cpuCount ?? 16;
  const ramBytes = wish.ramBytes ?? 64e9;
  const storageBytes = wish.storageBytes ?? 1e12;
  return {
    ...{ id, accountId: 'operator', version: 1, isSchedulable: true, regionCode: 'eu-west-1' },
    ...{ cpuCount, cpuFree: cpuCount, ramBytes, ramFree: ramBytes, storageBytes, storageFree: storageBytes },
    gpus: cards.map((card, index) => ({ ...aCard, uuid: `${id}-gpu-${index}`, ...card })),
    isolation: 'enforced',
    ...rest,
  };
}

const aCard = { name: 'NVIDIA GeForce RTX 4090', vramMib: 24_564, registryUuid: null, isAllocated: false };

export type JobWish = Partial<Omit<PendingJob, 'requirements'>> & Partial<Requirements>;

/** A job with no minimums that became pending at time 0. */
export function aJob(wish: JobWish = {}): PendingJob {
  const { id = 'job-1', accountId = 'consumer', priority = 0, submittedAtMs = 0 } = wish;
  const { avoidNodeIds = [], waitingSinceMs = 0 } = wish;
  const { cpuCount = 0, gpuCount = 0, minRamGb = 0, minStorageGb = 0, minVramGb = 0 } = wish;
  const { gpuName = null, gpuRegistryUuid = null, allowedRegionCodes = [], publicPortCount = 0 } = wish;
  return {
    ...{ id, accountId, priority, submittedAtMs, avoidNodeIds, waitingSinceMs },
    requirements: {
      ...{ cpuCount, gpuCount, minRamGb, minStorageGb, minVramGb, gpuName, gpuRegistryUuid },
      ...{ allowedRegionCodes, publicPortCount },
    },
  };
}
