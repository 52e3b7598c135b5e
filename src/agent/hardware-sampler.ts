// Samples what the machine and each run use, and sends them as often as the server asks.
import type { GpuLoad, NodeLoad, RunUsage, Sample, Usage } from '../protocol/hardware.ts';
import { type Clock, sleep } from './clock.ts';
import type { StorageReading } from './inventory.ts';
import type { AgentLog } from './log.ts';
import type { CoreTime, MachineReading, UsageReading } from './machine-load.ts';
import type { RunRecord } from './run-record.ts';

/** What is read of a machine for its samples. */
export interface LoadReaders {
  readMachine(): Promise<MachineReading>;
  readGpuLoads(): Promise<GpuLoad[]>;
}

export interface SamplerOptions {
  readers: LoadReaders;
  readStorage: () => Promise<StorageReading>;
  /** Absent: the engine cannot be asked for it. */
  readUsage: ((containerId: string) => Promise<UsageReading | null>) | undefined;
  clock: Clock;
  hasGpus: () => boolean;
  livingRuns: () => readonly RunRecord[];
}

interface Taken<T> {
  reading: T;
  atMs: number;
}

/** Of the time between two looks; the first look only remembers. */
export class HardwareSampler {
  readonly #options: SamplerOptions;
  #machine: Taken<MachineReading> | null = null;
  #runs = new Map<string, Taken<UsageReading>>();

  constructor(options: SamplerOptions) {
    this.#options = options;
  }

  async take(): Promise<Sample | null> {
    const { readers, readStorage, clock, hasGpus } = this.#options;
    const before = this.#machine;
    const [reading, storage, gpus] = await Promise.all([
      readers.readMachine(),
      readStorage(),
      hasGpus() ? readers.readGpuLoads() : [],
    ]);
    const atMs = clock.nowMs();
    this.#machine = { reading, atMs };
    const runs = await this.#takeRuns(gpus);
    const spanMs = before === null ? 0 : Math.round(atMs - before.atMs);
    if (before === null || spanMs < 1 || spanMs > maxSpanMs) return null;
    const usage = { ...usageBetween(before.reading, reading, spanMs), ...gpuUsage(gpus) };
    return {
      type: 'sample',
      span_ms: spanMs,
      node: { ...nodeLoad(before.reading, reading, storage), ...usage, gpus },
      runs,
    };
  }

  async #takeRuns(gpus: readonly GpuLoad[]): Promise<RunUsage[]> {
    const { readUsage, livingRuns } = this.#options;
    if (readUsage === undefined) return [];
    const before = this.#runs;
    const seen = new Map<string, Taken<UsageReading>>();
    const usages: RunUsage[] = [];
    for (const record of livingRuns()) {
      const { runUuid, containerId } = record;
      if (containerId === null) continue;
      const taken = await this.#read(() => readUsage(containerId));
      if (taken === null) continue;
      seen.set(runUuid, taken);
      const since = before.get(runUuid) ?? startOf(record);
      const spanMs = since === null ? 0 : Math.round(taken.atMs - since.atMs);
      if (since === null || spanMs < 1 || spanMs > maxSpanMs) continue;
      const uuids = new Set(record.desired?.gpu_uuids ?? []);
      const own = gpuUsage(gpus.filter(({ uuid }) => uuids.has(uuid)));
      const usage = usageBetween(since.reading, taken.reading, spanMs);
      usages.push({ run_uuid: runUuid, span_ms: spanMs, ...usage, ...own });
    }
    this.#runs = seen;
    return usages;
  }

  async #read(read: () => Promise<UsageReading | null>): Promise<Taken<UsageReading> | null> {
    const reading = await read();
    return reading === null ? null : { reading, atMs: this.#options.clock.nowMs() };
  }
}

/** Above it a difference tells little: of what went on while the agent did not. */
const maxSpanMs = 600_000;

const nothingUsed: UsageReading = {
  ...{
    cpuMs: 0,
    memoryBytes: 0,
    networkRxBytes: 0,
    networkTxBytes: 0,
    diskReadBytes: 0,
    diskWrittenBytes: 0,
  },
};

/** A container that starts has used nothing. */
function startOf({ startedAtMs }: RunRecord): Taken<UsageReading> | null {
  return startedAtMs === null ? null : { reading: nothingUsed, atMs: startedAtMs };
}

/** What was used within the span; a counter that fell was begun anew, and says nothing. */
export function usageBetween(
  before: UsageReading,
  after: UsageReading,
  spanMs: number,
): Omit<Usage, 'gpu_utilisation' | 'gpu_memory_bytes'> {
  const moved = (name: keyof UsageReading) => {
    const [from, to] = [before[name], after[name]];
    return from === null || to === null || to < from ? null : to - from;
  };
  const cpuMs = moved('cpuMs');
  return {
    cpu_cores: cpuMs === null ? null : rounded(cpuMs / spanMs),
    memory_bytes: after.memoryBytes,
    network_rx_bytes: moved('networkRxBytes'),
    network_tx_bytes: moved('networkTxBytes'),
    disk_read_bytes: moved('diskReadBytes'),
    disk_written_bytes: moved('diskWrittenBytes'),
  };
}

function gpuUsage(gpus: readonly GpuLoad[]): Pick<Usage, 'gpu_utilisation' | 'gpu_memory_bytes'> {
  const utilisations = gpus.flatMap(({ utilisation }) => utilisation ?? []);
  const memories = gpus.flatMap(({ memory_used_bytes }) => memory_used_bytes ?? []);
  return {
    gpu_utilisation: utilisations.length === 0 ? null : rounded(sum(utilisations) / utilisations.length),
    gpu_memory_bytes: memories.length === 0 ? null : sum(memories),
  };
}

function nodeLoad(before: MachineReading, after: MachineReading, storage: StorageReading) {
  return {
    core_loads: after.cores.map((core, index) => coreLoad(before.cores[index], core)),
    memory_free_bytes: after.memoryFreeBytes,
    memory_total_bytes: after.memoryTotalBytes,
    storage_free_bytes: storage.freeBytes,
    storage_total_bytes: storage.totalBytes,
  } satisfies Partial<NodeLoad>;
}

function coreLoad(before: CoreTime | undefined, after: CoreTime): number {
  if (before === undefined || after.total <= before.total) return 0;
  return rounded(Math.min(1, Math.max(0, (after.busy - before.busy) / (after.total - before.total))));
}

/** Samples are kept by the million: more digits would be noise that takes space. */
function rounded(value: number): number {
  return Math.round(value * 1000) / 1000;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

export interface SamplingOptions {
  sampler: HardwareSampler;
  clock: Clock;
  log: AgentLog;
  /** How often the server asks for one; null: it does not, or there is none. */
  everyMs: () => number | null;
  send: (sample: Sample) => boolean;
}

/** Between two looks while nobody asks for samples, so that the first one covers a short time. */
const idleMs = 5_000;

/** One that fails is left out: it holds up nothing else. */
export async function sendSamples(options: SamplingOptions, signal: AbortSignal): Promise<void> {
  const { clock, everyMs, send } = options;
  while (!signal.aborted) {
    const periodMs = everyMs();
    const sample = await take(options);
    if (sample !== null && periodMs !== null) send(sample);
    await sleep(clock, periodMs ?? idleMs, signal);
  }
}

async function take({ sampler, log }: SamplingOptions): Promise<Sample | null> {
  try {
    return await sampler.take();
  } catch (error) {
    log.warn({ reason: String(error) }, 'what the node uses could not be read');
    return null;
  }
}
