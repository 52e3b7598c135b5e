// What the agent keeps beside its runs: images, the state of GPUs and its cluster, each with its file in the state directory.
import { totalmem, uptime } from 'node:os';
import { join } from 'node:path';
import type { HardwareParts } from '../protocol/hardware.ts';
import type { Clock } from './clock.ts';
import { ClusterMemory } from './cluster-memory.ts';
import { GpuGuard, type GpuTimes } from './gpu-guard.ts';
import { readGpuLoads } from './gpu-load.ts';
import { type GpuUse, readGpuUse } from './gpu-use.ts';
import { type GpuReading, readGpus } from './gpus.ts';
import { readParts } from './hardware-parts.ts';
import type { LoadReaders } from './hardware-sampler.ts';
import { Images } from './images.ts';
import { readStorage, type StorageReading } from './inventory.ts';
import type { AgentLog } from './log.ts';
import { readMachine } from './machine-load.ts';
import { NvidiaSmi } from './nvidia-smi.ts';
import type { Runtime } from './runtime.ts';
import { noStateFile, openStateFile, type StateFile } from './state-file.ts';

/** What the agent reads and keeps of its machine beside the container engine. */
export interface Machine {
  readGpus(): Promise<GpuReading>;
  readGpuUse(): Promise<Map<string, GpuUse>>;
  /** Of the filesystem that holds `folder`; of the root one where that cannot be seen. */
  readStorage(folder: string | null): Promise<StorageReading>;
  openStateFile(name: string): StateFile;
  /** Since it started; absent: it never does. */
  uptimeMs?: () => number;
  /** Absent: the inventory tells of none. */
  readParts?(): Promise<HardwareParts>;
  /** Absent: no samples are taken. */
  load?: LoadReaders;
}

/** The machine that this process runs on. `stateDirectory` undefined: it keeps nothing. */
export function thisMachine(stateDirectory: string | undefined): Machine {
  const smi = new NvidiaSmi();
  const memory = { ramMib: Math.floor(totalmem() / 2 ** 20) };
  return {
    readGpus: () => readGpus(smi, memory),
    readGpuUse: () => readGpuUse(smi),
    readStorage,
    openStateFile: (name) =>
      stateDirectory === undefined ? noStateFile : openStateFile(join(stateDirectory, name)),
    uptimeMs: () => uptime() * 1000,
    readParts: () => readParts(),
    load: { readMachine: () => readMachine(), readGpuLoads: () => readGpuLoads(smi) },
  };
}

export interface StoreOptions {
  machine: Machine;
  runtime: Runtime;
  clock: Clock;
  log: AgentLog;
  allowedRegistries?: readonly string[];
  imageCacheBytes?: number;
  gpuTimes?: GpuTimes;
  /** Of the filesystem that holds the engine's data. */
  storageBytes: () => number;
}

/** Part of the engine's disk that pulled images may take unless the operator says otherwise. */
const imageCacheShare = 0.2;

export function openStores(options: StoreOptions): {
  images: Images;
  gpuGuard: GpuGuard;
  memory: ClusterMemory;
} {
  const { machine, runtime, clock, log, storageBytes } = options;
  const images = new Images({
    runtime,
    clock,
    log,
    stateFile: machine.openStateFile('images.json'),
    registries: { allowed: options.allowedRegistries ?? [] },
    capBytes: () => options.imageCacheBytes ?? storageBytes() * imageCacheShare,
  });
  const gpuGuard = new GpuGuard({
    clock,
    log,
    stateFile: machine.openStateFile('gpus.json'),
    readUse: machine.readGpuUse,
    ...(options.gpuTimes === undefined ? {} : { times: options.gpuTimes }),
  });
  return { images, gpuGuard, memory: new ClusterMemory(machine.openStateFile('cluster.json'), log) };
}

/** The node's GPUs, with what is known of their health. */
export async function readGuardedGpus(machine: Machine, gpuGuard: GpuGuard): Promise<GpuReading> {
  const { gpus, note } = await machine.readGpus();
  return { gpus: gpuGuard.tell(gpus), note };
}
