// Proof that a GPU is clean after a run: its use is read before and after, and one that stays dirty is quarantined.
import type { GpuRemains } from '../domain/receipt.ts';
import type { GpuInventory } from '../protocol/agent-messages.ts';
import { type Clock, sleep } from './clock.ts';
import { type GpuUse, leftOver } from './gpu-use.ts';
import type { AgentLog } from './log.ts';
import { RuntimeError } from './runtime.ts';
import type { StateFile } from './state-file.ts';

export interface GpuTimes {
  cleanLimitMs: number;
  recheckEveryMs: number;
}

/** Drivers give memory back within a second or two after the last process. */
const defaultTimes: GpuTimes = { cleanLimitMs: 10_000, recheckEveryMs: 10_000 };
const lookEveryMs = 500;

interface Device {
  /** How it was before the run that has it, or had it last. */
  baseline: GpuUse;
  /** null once the run is proved to be off it, or it was given up. */
  runUuid: string | null;
  /** The run that had it last. */
  lastRunUuid?: string;
  /** Why it is not handed on; null while it may be. */
  quarantine: string | null;
}

/** How a GPU is found after a run; `why` null: nothing of the run is left on it. */
interface Look {
  uuid: string;
  device: Device;
  use: GpuUse | null;
  why: string | null;
}

export interface GpuGuardOptions {
  clock: Clock;
  log: AgentLog;
  /** Survives the agent: a GPU that was dirty before its restart still is. */
  stateFile: StateFile;
  readUse: () => Promise<Map<string, GpuUse>>;
  times?: GpuTimes;
}

export class GpuGuard {
  readonly #options: GpuGuardOptions;
  readonly #devices: Map<string, Device>;
  /** As they were told last, by uuid. */
  readonly #seen = new Map<string, GpuInventory>();
  readonly #times: GpuTimes;

  constructor(options: GpuGuardOptions) {
    this.#options = options;
    this.#times = options.times ?? defaultTimes;
    const reading = options.stateFile.read();
    const content = reading === null || reading === 'unreadable' ? {} : reading.content;
    this.#devices = new Map(Object.entries((content as { devices?: Record<string, Device> }).devices ?? {}));
  }

  /** Before a run's container starts; throws when one of its GPUs may not be used. */
  async begin(runUuid: string, uuids: readonly string[]): Promise<void> {
    this.#refuseQuarantined(uuids);
    const fresh = uuids.filter((uuid) => this.#devices.get(uuid)?.runUuid !== runUuid);
    if (fresh.length === 0) return;
    const uses = await this.#read('gpu_unavailable');
    for (const uuid of fresh) this.#endOldRun(uuid, uses.get(uuid));
    this.#refuseQuarantined(fresh);
    for (const uuid of fresh) {
      const baseline = uses.get(uuid);
      if (baseline === undefined)
        throw new RuntimeError('gpu_unavailable', `The node has no GPU ${uuid} any more.`);
      this.#devices.set(uuid, { baseline, runUuid, quarantine: null });
    }
    this.#write();
  }

  /** After the run's last process is gone: what is seen of each GPU that it had; a dirty one is quarantined. */
  async finish(runUuid: string): Promise<GpuRemains[]> {
    const { clock } = this.#options;
    const deadlineMs = clock.nowMs() + this.#times.cleanLimitMs;
    let seen = await this.#look(runUuid);
    while (seen.some(({ why, device }) => why !== null && device.quarantine === null)) {
      if (clock.nowMs() >= deadlineMs) break;
      await sleep(clock, lookEveryMs);
      seen = await this.#look(runUuid);
    }
    for (const one of seen) this.#settle(runUuid, one);
    if (seen.length > 0) this.#write();
    return seen.map(({ uuid, device, why, use }) => ({
      uuid,
      state: why === null ? 'clean' : use === null ? 'not_seen' : 'dirty',
      why,
      baselineMib: device.baseline.usedMib,
      usedMib: use?.usedMib ?? null,
    }));
  }

  /** The run's processes do not end: its GPUs are kept from others until they are seen clean after it. */
  quarantine(runUuid: string, why: string): void {
    const held = [...this.#devices.values()].filter((device) => device.runUuid === runUuid);
    for (const device of held) device.quarantine ??= why;
    if (held.length > 0) this.#write();
  }

  /** The GPUs that are there with what is known of their health, and those that are not there any more but not given up. */
  tell(gpus: readonly GpuInventory[]): GpuInventory[] {
    for (const gpu of gpus) this.#seen.set(gpu.uuid, gpu);
    const isThere = new Set(gpus.map(({ uuid }) => uuid));
    const lost = [...this.#seen.values()].filter(({ uuid }) => !isThere.has(uuid) && this.#isKept(uuid));
    const all = [...gpus, ...lost].sort((a, b) => a.index - b.index);
    return all.map((gpu) => {
      const why = this.#whyUnusable(gpu.uuid, isThere.has(gpu.uuid));
      return why === null
        ? { ...gpu, health: 'ok' }
        : { ...gpu, health: 'quarantined', health_reason: `GPU ${gpu.uuid}: ${why}`.slice(0, 1024) };
    });
  }

  #isKept(uuid: string): boolean {
    const device = this.#devices.get(uuid);
    return device !== undefined && (device.runUuid !== null || device.quarantine !== null);
  }

  #whyUnusable(uuid: string, isThere: boolean): string | null {
    const { quarantine = null, runUuid = null } = this.#devices.get(uuid) ?? {};
    if (quarantine !== null || isThere) return quarantine;
    return `nvidia-smi does not tell of it any more, while job run ${runUuid} has it.`;
  }

  /** Looks at quarantined GPUs until the signal; calls back when one is clean again. */
  async watch(onChange: () => void, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await sleep(this.#options.clock, this.#times.recheckEveryMs, signal);
      if (!signal.aborted && (await this.recheck())) onChange();
    }
  }

  /** Whether a quarantined GPU got clean. */
  async recheck(): Promise<boolean> {
    const quarantined = [...this.#devices].filter(
      ([, { quarantine, runUuid }]) => quarantine !== null && runUuid === null,
    );
    if (quarantined.length === 0) return false;
    const uses = await this.#options.readUse().catch(() => new Map<string, GpuUse>());
    const clean = quarantined.filter(([uuid, { baseline }]) => leftOver(baseline, uses.get(uuid)) === null);
    for (const [uuid, device] of clean) {
      device.quarantine = null;
      this.#options.log.info({ gpu_uuid: uuid }, 'a quarantined GPU is clean again');
    }
    if (clean.length > 0) this.#write();
    return clean.length > 0;
  }

  /** A run whose end nobody looked at, its agent was dead, must not pass its leftovers on as a baseline. */
  #endOldRun(uuid: string, now: GpuUse | undefined): void {
    const device = this.#devices.get(uuid);
    if (device === undefined || device.runUuid === null) return;
    const why = leftOver(device.baseline, now);
    if (why === null) return;
    device.quarantine = `after job run ${device.runUuid} ${why}.`;
    device.lastRunUuid = device.runUuid;
    device.runUuid = null;
    this.#write();
  }

  #refuseQuarantined(uuids: readonly string[]): void {
    for (const uuid of uuids) {
      const { quarantine = null } = this.#devices.get(uuid) ?? {};
      if (quarantine === null) continue;
      throw new RuntimeError('gpu_quarantined', `GPU ${uuid} of the node is quarantined: ${quarantine}`);
    }
  }

  async #look(runUuid: string): Promise<Look[]> {
    const mine = [...this.#devices].filter(
      ([, { runUuid: holder, lastRunUuid }]) => (holder ?? lastRunUuid) === runUuid,
    );
    if (mine.length === 0) return [];
    const uses = await this.#options.readUse().catch((error: unknown) => String(error));
    return mine.map(([uuid, device]) => {
      if (typeof uses === 'string')
        return { uuid, device, use: null, why: `its state cannot be read (${uses})` };
      const use = uses.get(uuid);
      return { uuid, device, use: use ?? null, why: leftOver(device.baseline, use) };
    });
  }

  /** The run is off the GPU, or it is given up for a while. */
  #settle(runUuid: string, { uuid, device, why }: Look): void {
    if (why !== null && device.runUuid !== null) {
      device.quarantine = `after job run ${runUuid} ${why}.`;
      const fields = { gpu_uuid: uuid, run_uuid: runUuid, reason: why };
      this.#options.log.error(fields, 'a GPU did not get clean after its run');
    }
    device.runUuid = null;
    device.lastRunUuid = runUuid;
  }

  async #read(code: string): Promise<Map<string, GpuUse>> {
    try {
      return await this.#options.readUse();
    } catch (error) {
      throw new RuntimeError(code, `The node's GPUs cannot be read: ${String(error)}`, { cause: error });
    }
  }

  #write(): void {
    this.#options.stateFile.write({ version: 1, devices: Object.fromEntries(this.#devices) });
  }
}
