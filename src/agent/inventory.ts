// What the machine is and has, read from the engine, nvidia-smi and the filesystem.
import { statfs } from 'node:fs/promises';
import { cpus } from 'node:os';
import type { Inventory } from '../protocol/agent-messages.ts';
import type { HardwareParts } from '../protocol/hardware.ts';
import type { GpuReading } from './gpus.ts';
import type { Runtime } from './runtime.ts';

/** Throws while the engine is away. */
export async function readInventory(
  runtime: Runtime,
  readers: {
    gpus: () => Promise<GpuReading>;
    storage: (folder: string | null) => Promise<StorageReading>;
    parts?: (() => Promise<HardwareParts>) | undefined;
  },
): Promise<Inventory> {
  const [engine, { gpus, note }, parts] = await Promise.all([
    runtime.describe(),
    readers.gpus(),
    readers.parts?.(),
  ]);
  const storage = await readers.storage(engine.dataRoot);
  return {
    cpu_count: engine.cpuCount,
    cpu_model: (cpus()[0]?.model ?? 'unknown').slice(0, 256),
    architecture: engine.architecture.slice(0, 32),
    ram_bytes: engine.ramBytes,
    storage_bytes: storage.totalBytes,
    storage_free_bytes: storage.freeBytes,
    gpus,
    gpu_note: note?.slice(0, 1024) ?? null,
    engine: { name: engine.name, version: engine.version, api_version: engine.apiVersion },
    cgroup_version: engine.cgroupVersion,
    operating_system: engine.operatingSystem.slice(0, 256),
    isolation: 'none',
    ...(parts === undefined ? {} : { parts }),
  };
}

export interface StorageReading {
  totalBytes: number;
  freeBytes: number;
}

/** Of the filesystem that holds the engine's data; of the root one where that cannot be seen. */
export async function readStorage(folder: string | null): Promise<StorageReading> {
  const { blocks, bavail, bsize } = await statfs(folder ?? '/').catch(() => statfs('/'));
  return { totalBytes: blocks * bsize, freeBytes: bavail * bsize };
}

/** Free space moves all the time; less than this is no news. */
const newsBytes = 1_000_000_000;

export function isNews(before: Inventory, after: Inventory): boolean {
  if (Math.abs(before.storage_free_bytes - after.storage_free_bytes) >= newsBytes) return true;
  const steady = (inventory: Inventory) => JSON.stringify({ ...inventory, storage_free_bytes: 0 });
  return steady(before) !== steady(after);
}
