// Runs that fill more disk than they may are found by measuring, and told to the loop, which stops them.
import { storageLimitBytes, storageSentence } from '../domain/isolation-storage.ts';
import type { DesiredRun, Inventory, RunError } from '../protocol/agent-messages.ts';
import { type Clock, sleep } from './clock.ts';
import type { AgentLog } from './log.ts';
import type { RunRecord } from './run-record.ts';
import type { Runtime } from './runtime.ts';

export interface StorageWatchOptions {
  runtime: Runtime;
  clock: Clock;
  log: AgentLog;
  inventory: () => Inventory;
  /** Runs with a living container. */
  livingRuns: () => readonly RunRecord[];
  onOveruse: (record: RunRecord, error: RunError) => void;
  everyMs?: number;
}

const defaultEveryMs = 10_000;

/** Measures one run after another, then waits, so that it never takes more than half of one CPU. */
export async function watchStorage(options: StorageWatchOptions, signal: AbortSignal): Promise<void> {
  const { clock, runtime, everyMs = defaultEveryMs } = options;
  if (runtime.measureStorage === undefined) return;
  let tookMs = 0;
  while (!signal.aborted) {
    await sleep(clock, Math.max(everyMs - tookMs, tookMs), signal);
    const sinceMs = clock.nowMs();
    for (const record of options.livingRuns()) {
      if (signal.aborted) return;
      await measure(options, record);
    }
    tookMs = clock.nowMs() - sinceMs;
  }
}

async function measure(options: StorageWatchOptions, record: RunRecord): Promise<void> {
  const { runtime, log } = options;
  if (record.containerId === null || record.desired === null || record.ownStop !== null) return;
  try {
    const usedBytes = await runtime.measureStorage?.(record.containerId);
    const limitBytes = limitOf(record.desired, options.inventory());
    if (usedBytes === undefined || usedBytes === null || usedBytes <= limitBytes) return;
    options.onOveruse(record, { code: 'storage_exceeded', message: storageSentence(usedBytes, limitBytes) });
  } catch (error) {
    log.warn(
      { run_uuid: record.runUuid, reason: String(error) },
      'the disk use of a run could not be measured',
    );
  }
}

export function limitOf(run: DesiredRun, inventory: Inventory): number {
  return storageLimitBytes(
    {
      cpuCount: run.cpu_count,
      ramBytes: run.ram_bytes,
      gpuCount: run.gpu_uuids.length,
      storageBytes: run.storage_bytes,
    },
    {
      cpuCount: inventory.cpu_count,
      ramBytes: inventory.ram_bytes,
      gpuCount: inventory.gpus.length,
      storageBytes: inventory.storage_bytes,
    },
  );
}
