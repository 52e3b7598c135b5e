// What the agent keeps beside its runs: images and the state of GPUs, each with its file in the state directory.
import { join } from 'node:path';
import type { Clock } from './clock.ts';
import { GpuGuard, type GpuTimes } from './gpu-guard.ts';
import { readGpuUse } from './gpu-use.ts';
import { type GpuReading, readGpus } from './gpus.ts';
import { Images } from './images.ts';
import type { AgentLog } from './log.ts';
import type { Runtime } from './runtime.ts';
import { noStateFile, openStateFile } from './state-file.ts';

export interface StoreOptions {
  runtime: Runtime;
  clock: Clock;
  log: AgentLog;
  stateDirectory?: string;
  allowedRegistries?: readonly string[];
  imageCacheBytes?: number;
  gpuTimes?: GpuTimes;
  /** Of the filesystem that holds the engine's data. */
  storageBytes: () => number;
}

/** Part of the engine's disk that pulled images may take unless the operator says otherwise. */
const imageCacheShare = 0.2;

export function openStores(options: StoreOptions): { images: Images; gpuGuard: GpuGuard } {
  const { runtime, clock, log, stateDirectory, storageBytes } = options;
  const fileOf = (name: string) =>
    stateDirectory === undefined ? noStateFile : openStateFile(join(stateDirectory, name));
  const images = new Images({
    runtime,
    clock,
    log,
    stateFile: fileOf('images.json'),
    registries: { allowed: options.allowedRegistries ?? [] },
    capBytes: () => options.imageCacheBytes ?? storageBytes() * imageCacheShare,
  });
  const gpuGuard = new GpuGuard({
    clock,
    log,
    stateFile: fileOf('gpus.json'),
    readUse: readGpuUse,
    ...(options.gpuTimes === undefined ? {} : { times: options.gpuTimes }),
  });
  return { images, gpuGuard };
}

/** The node's GPUs, with what is known of their health. */
export async function readGuardedGpus(gpuGuard: GpuGuard): Promise<GpuReading> {
  const { gpus, note } = await readGpus();
  return { gpus: gpuGuard.tell(gpus), note };
}
