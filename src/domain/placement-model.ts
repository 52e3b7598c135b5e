// What placement is given and what it answers: nodes, pending jobs, placements.
import type { Requirements } from './job.ts';

export interface PlacementGpu {
  uuid: string;
  name: string;
  vramMib: number;
  registryUuid: string | null;
  /** VRAM by the GPU registry, where the card is in it. */
  registryVramGb?: number | null;
  isAllocated: boolean;
}

/** A node as the database knows it; `version` rises when what it offers changes. */
export interface PlacementNode {
  id: string;
  accountId: string;
  version: number;
  /** Ready, not cordoned, not unreachable. */
  isSchedulable: boolean;
  regionCode: string | null;
  cpuCount: number;
  cpuFree: number;
  ramBytes: number;
  ramFree: number;
  storageBytes: number;
  storageFree: number;
  gpus: readonly PlacementGpu[];
  isolation: 'enforced' | 'none';
}

export interface PendingJob {
  id: string;
  accountId: string;
  /** Higher goes first. */
  priority: number;
  /** FIFO order within a priority; equal times go by id. */
  submittedAtMs: number;
  requirements: Requirements;
  /** Nodes where it failed before: taken only when no other node fits now. */
  avoidNodeIds: readonly string[];
  /** When it became pending this time. */
  waitingSinceMs: number;
}

/** What one job gets. The amounts are what is reserved, default shares included. */
export interface Placement {
  jobId: string;
  nodeId: string;
  /** The node's version the decision rests on. */
  nodeVersion: number;
  gpuUuids: string[];
  cpuCount: number;
  ramBytes: number;
  storageBytes: number;
}

/** Queue order: priority first, then time of submit, then id. */
export function compareJobs(a: PendingJob, b: PendingJob): number {
  return b.priority - a.priority || a.submittedAtMs - b.submittedAtMs || compareIds(a.id, b.id);
}

export function compareIds(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
