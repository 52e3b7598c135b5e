// What a container may use at most: memory, CPU weight, shared memory and processes, from its reservation and its node.

/** What the run reserved; 0 is no minimum. */
export interface Reservation {
  cpuCount: number;
  ramBytes: number;
  gpuCount: number;
}

export interface NodeSize {
  cpuCount: number;
  ramBytes: number;
  gpuCount: number;
}

export interface ContainerLimits {
  /** Memory and swap together: no swap beyond it. */
  memoryBytes: number;
  /** Relative weight among containers; 1024 is one reserved CPU. */
  cpuShares: number;
  /** The node's own size: a reservation is a floor, never a cap. */
  cpuCount: number;
  shmBytes: number;
  pidCount: number;
}

/** Left to the node itself; more starves jobs, less lets a full node kill its agent. */
const nodeReserveBytes = 512 * 1024 * 1024;
const nodeReserveShare = 0.05;
/** Engines refuse less than 6 MiB; below this hardly a program starts. */
const minMemoryBytes = 32 * 1024 * 1024;
/** The weight of a run that reserved no CPU: a quarter of one. */
const defaultCpuCount = 0.25;
const maxCpuShares = 262_144;
const minPidCount = 4096;
const maxPidCount = 32_768;

/** The larger of reservation and fair share in memory, CPU by weight, half the memory as /dev/shm. */
export function containerLimits(reservation: Reservation, node: NodeSize): ContainerLimits {
  const usableBytes = usableRamBytes(node.ramBytes);
  const wantedBytes = Math.max(reservation.ramBytes, usableBytes * fairShare(reservation, node));
  const memoryBytes = Math.max(minMemoryBytes, Math.floor(Math.min(wantedBytes, node.ramBytes)));
  const cpuCount = reservation.cpuCount > 0 ? reservation.cpuCount : defaultCpuCount;
  return {
    memoryBytes,
    cpuShares: clamp(Math.round(cpuCount * 1024), { min: 2, max: maxCpuShares }),
    cpuCount: node.cpuCount,
    shmBytes: Math.floor(memoryBytes / 2),
    pidCount: clamp(Math.ceil(cpuCount) * 1024, { min: minPidCount, max: maxPidCount }),
  };
}

/** The part of the node that a run may count as its own: by its GPUs or its CPUs, whichever is more. */
export function fairShare(reservation: Reservation, node: NodeSize): number {
  const byGpu = node.gpuCount > 0 ? reservation.gpuCount / node.gpuCount : 0;
  const byCpu = node.cpuCount > 0 ? Math.max(reservation.cpuCount, defaultCpuCount) / node.cpuCount : 1;
  return Math.min(1, Math.max(byGpu, byCpu));
}

function usableRamBytes(ramBytes: number): number {
  return Math.max(0, ramBytes - Math.max(nodeReserveBytes, ramBytes * nodeReserveShare));
}

function clamp(value: number, range: { min: number; max: number }): number {
  return Math.min(range.max, Math.max(range.min, value));
}
