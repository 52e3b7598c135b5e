// A simulated container engine behind the agent's runtime port: containers, images and volumes that outlive the agent.
//
// Every call travels to the engine, takes effect there, and its answer travels back: three moments at which something
// else may happen, and at each of which the agent may be killed.
import {
  type ContainerAddress,
  type ContainerSpec,
  type ContainerState,
  type ContainerSummary,
  type EngineDescription,
  type ImageState,
  type LogEntry,
  type LogRequest,
  labelNames,
  type PullOptions,
  type PullOrder,
  type Runtime,
  RuntimeError,
  type VolumeOptions,
  type VolumeOrder,
  type VolumeSummary,
  type WatchOptions,
} from '../../src/agent/runtime.ts';
import { fullReference } from '../../src/domain/image-reference.ts';
import { parseProgram, SimulatedContainer } from './container.ts';
import type { SimulatedProcess } from './process.ts';
import type { World } from './world.ts';

export interface EngineRates {
  callFails: number;
  answerLost: number;
  pullFails: number;
  startFails: number;
  killIgnored: number;
  removeFails: number;
  eventLost: number;
}

/** Faults are off. */
export const noEngineFaults: EngineRates = {
  ...{
    callFails: 0,
    answerLost: 0,
    pullFails: 0,
    startFails: 0,
    killIgnored: 0,
    removeFails: 0,
    eventLost: 0,
  },
};

const hungCallMs = 10_000;
const largePullMs = 12_000;
/** Of an engine under load. */
const slowListMs = 600;

export interface EngineOptions {
  name: string;
  cpuCount: number;
  ramBytes: number;
  /** Wall clock of the machine. */
  wallMs: () => number;
  onStart: (container: SimulatedContainer) => void;
}

export class SimulatedEngine {
  readonly containers = new Map<string, SimulatedContainer>();
  /** By run. */
  readonly volumes = new Map<string, VolumeSummary>();
  /** By run whose container is gone: bytes of its log. */
  readonly writtenBytes = new Map<string, number>();
  rates: EngineRates = noEngineFaults;
  isAway = false;
  readonly options: EngineOptions;
  readonly world: World;
  readonly #images = new Set<string>();
  readonly #watchers = new Set<Watcher>();
  #count = 0;

  constructor(world: World, options: EngineOptions) {
    this.world = world;
    this.options = options;
  }

  /** As one life of the agent reaches it. */
  connect(process: SimulatedProcess): Runtime {
    return new EngineConnection(this, process);
  }

  containersOf(runUuid: string): SimulatedContainer[] {
    return [...this.containers.values()].filter((container) => container.runUuid === runUuid);
  }

  addImage(reference: string): void {
    this.#images.add(fullReference(reference));
  }

  image(reference: string): ImageState | null {
    if (!this.#images.has(fullReference(reference))) return null;
    const [sizeBytes, exposedPorts] = [50_000_000, []];
    const origin = { architecture: null, isFromRegistry: true };
    return { imageId: reference, digest: `sha256:${reference}`, sizeBytes, exposedPorts, ...origin };
  }

  create(spec: ContainerSpec): SimulatedContainer {
    if ([...this.containers.values()].some(({ name }) => name === spec.name))
      throw new RuntimeError('name_taken', `A container named ${spec.name} exists already.`, {
        isRetryable: true,
      });
    this.#count += 1;
    const container = new SimulatedContainer(this.world, {
      id: `${this.options.name}-c${this.#count}`,
      spec,
      program: parseProgram(spec.command),
      wallMs: this.options.wallMs,
      onEnd: (ended) => this.tell(ended),
    });
    this.containers.set(container.id, container);
    return container;
  }

  remove(id: string): void {
    const container = this.containers.get(id);
    if (container === undefined) return;
    container.kill();
    this.writtenBytes.set(container.runUuid, container.logBytes);
    this.containers.delete(id);
  }

  /** A container started or ended: whoever watches hears of it, unless the event is lost. */
  tell({ runUuid }: SimulatedContainer): void {
    for (const watcher of this.#watchers) {
      if (this.world.random.fault.chance(this.rates.eventLost)) {
        this.world.count('fault: engine event lost');
        continue;
      }
      this.world.later(this.world.random.latency.between(0.2, 10), {
        process: watcher.process,
        what: `engine event ${runUuid}`,
        run: () => watcher.onChange(runUuid),
      });
    }
  }

  watch(watcher: Watcher): void {
    this.#watchers.add(watcher);
    watcher.process.onKill(() => this.#watchers.delete(watcher));
  }

  /** The engine restarts: every stream of events breaks. */
  breakWatches(): void {
    for (const watcher of this.#watchers)
      this.world.later(1, { process: watcher.process, what: 'engine events broke', run: watcher.end });
    this.#watchers.clear();
  }

  /** The machine lost its power: what ran has ended when it is back. */
  losePower(): void {
    for (const container of this.containers.values()) container.kill();
    this.breakWatches();
  }
}

interface Watcher {
  process: SimulatedProcess;
  onChange: (runUuid: string) => void;
  end: () => void;
}

class EngineConnection implements Runtime {
  readonly #engine: SimulatedEngine;
  readonly #process: SimulatedProcess;
  readonly #listMs: number;

  constructor(engine: SimulatedEngine, process: SimulatedProcess) {
    this.#engine = engine;
    this.#process = process;
    const { latency } = engine.world.random;
    this.#listMs = latency.chance(0.3) ? latency.between(20, slowListMs) : 0;
  }

  /** `effect` happens in the engine; what it returns or throws travels back. */
  #call<T>(
    what: string,
    effect: () => T,
    options: { tookMs?: number; signal?: AbortSignal } = {},
  ): Promise<T> {
    const { world, rates } = this.#engine;
    const { latency, fault } = world.random;
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const answer = (delayMs: number, tell: () => void) =>
      world.later(delayMs, { process: this.#process, what: `engine answers ${what}`, run: tell });
    options.signal?.addEventListener('abort', () => reject(options.signal?.reason));
    world.later((options.tookMs ?? 0) + latency.between(0.2, 8), {
      process: null,
      what: `engine of ${this.#process.name}: ${what}`,
      run: () => {
        if (options.signal?.aborted) return;
        if (this.#engine.isAway || fault.chance(rates.callFails)) {
          world.count('fault: engine call failed');
          return void answer(1, () => reject(engineAway(what)));
        }
        const outcome = attempt(effect);
        if (fault.chance(rates.answerLost)) {
          world.count('fault: engine call hung');
          return void answer(hungCallMs, () => reject(engineAway(what)));
        }
        answer(latency.between(0.2, 8), () =>
          'error' in outcome ? reject(outcome.error) : resolve(outcome.value),
        );
      },
    });
    return promise;
  }

  #find(id: string): SimulatedContainer | null {
    return this.#engine.containers.get(id) ?? null;
  }

  describe(): Promise<EngineDescription> {
    const { cpuCount, ramBytes } = this.#engine.options;
    return this.#call('describe', () => ({
      ...{ name: 'simulated', version: '1', apiVersion: '1', cpuCount, ramBytes, dataRoot: null },
      ...{ architecture: 'x86_64', operatingSystem: 'simulated', cgroupVersion: 2 as const },
    }));
  }

  listContainers(_nodeUuid: string): Promise<ContainerSummary[]> {
    const summaries = () => [...this.#engine.containers.values()].map((container) => container.summary());
    return this.#call('list', summaries, { tookMs: this.#listMs });
  }

  watchContainers(_nodeUuid: string, { onReady, onChange, signal }: WatchOptions): Promise<void> {
    return new Promise((resolve) => {
      this.#engine.watch({ process: this.#process, onChange, end: resolve });
      signal.addEventListener('abort', () => resolve());
      onReady();
    });
  }

  inspectContainer(id: string): Promise<ContainerState | null> {
    return this.#call(`inspect ${id}`, () => this.#find(id)?.state() ?? null);
  }

  inspectImage(reference: string): Promise<ImageState | null> {
    return this.#call(`inspect image ${reference}`, () => this.#engine.image(reference));
  }

  async pullImage({ image }: PullOrder, { onProgress, signal }: PullOptions): Promise<void> {
    const { world, rates } = this.#engine;
    const { latency, fault } = world.random;
    const totalMs = latency.chance(0.2) ? latency.between(2_000, largePullMs) : latency.between(50, 1_500);
    const willFail = fault.chance(rates.pullFails) || image.includes('missing');
    for (const part of [1, 2]) {
      await this.#call(`pull ${image} ${part}`, () => {}, { tookMs: totalMs / 2, signal });
      onProgress({ phase: 'pulling', receivedBytes: part * 1_000_000, totalBytes: 2_000_000 });
    }
    if (willFail) {
      world.count('fault: pull failed');
      throw new RuntimeError('image_not_found', `Image "${image}" was not found.`, {
        engineText: 'not found',
      });
    }
    this.#engine.addImage(image);
  }

  removeImage(_reference: string): Promise<'removed' | 'in_use'> {
    return this.#call('remove image', () => 'in_use' as const);
  }

  fillVolume({ labels }: VolumeOrder, { signal }: VolumeOptions): Promise<void> {
    const runUuid = labels[labelNames.run] ?? '';
    const clusterUuid = labels[labelNames.cluster] ?? '';
    const tookMs = this.#engine.world.random.latency.between(10, 800);
    const fill = () => void this.#engine.volumes.set(runUuid, { runUuid, clusterUuid });
    return this.#call(`fill volume ${runUuid}`, fill, { tookMs, signal });
  }

  listVolumes(_nodeUuid: string): Promise<VolumeSummary[]> {
    return this.#call('list volumes', () => [...this.#engine.volumes.values()]);
  }

  removeVolumes(runUuid: string): Promise<void> {
    return this.#call(`remove volumes ${runUuid}`, () => void this.#engine.volumes.delete(runUuid));
  }

  createContainer(spec: ContainerSpec): Promise<string> {
    return this.#call(`create ${spec.name}`, () => this.#engine.create(spec).id);
  }

  startContainer(id: string): Promise<void> {
    return this.#call(`start ${id}`, () => {
      const container = this.#find(id);
      if (container === null || container.word !== 'created') return;
      if (this.#engine.world.random.fault.chance(this.#engine.rates.startFails)) {
        this.#engine.world.count('fault: start failed');
        throw new RuntimeError('bad_command', 'The container cannot start.', { engineText: 'no such file' });
      }
      this.#engine.options.onStart(container);
      container.start();
      this.#engine.tell(container);
    });
  }

  signalContainer(id: string, signalName: string): Promise<void> {
    return this.#call(`${signalName} ${id}`, () => {
      const { world, rates } = this.#engine;
      if (signalName !== 'SIGKILL') return void this.#find(id)?.signal();
      if (!world.random.fault.chance(rates.killIgnored)) return void this.#find(id)?.kill();
      world.count('fault: KILL without effect');
    });
  }

  removeContainer(id: string): Promise<void> {
    return this.#call(`remove ${id}`, () => {
      const { world, rates } = this.#engine;
      if (world.random.fault.chance(rates.removeFails)) {
        world.count('fault: removal failed');
        throw new RuntimeError('engine_error', 'The container cannot be removed now.', {
          engineText: 'busy',
        });
      }
      this.#engine.remove(id);
    });
  }

  killProcesses(id: string): Promise<number> {
    return this.#call(`kill processes ${id}`, () => {
      this.#find(id)?.kill();
      return 0;
    });
  }

  containerAddress(_id: string): Promise<ContainerAddress | null> {
    return Promise.resolve(null);
  }

  async *readLogs({
    containerId,
    since,
    isFollowing,
    signal,
  }: LogRequest): AsyncGenerator<readonly LogEntry[]> {
    let place: number | null = null;
    for (;;) {
      const reading = await this.#call(`logs ${containerId}`, () => {
        const container = this.#find(containerId);
        if (container === null)
          throw new RuntimeError('container_disappeared', 'The log is gone.', { engineText: '' });
        place ??= container.logs.findIndex(({ timestamp }) => since === null || timestamp >= since);
        const entries = place === -1 ? [] : container.logs.slice(place);
        place = container.logs.length;
        return { entries, container };
      });
      if (signal.aborted) return;
      if (reading.entries.length > 0) yield reading.entries;
      if (signal.aborted || !isFollowing || reading.container.word === 'exited') return;
      await reading.container.nextLog(this.#process, signal);
      if (signal.aborted) return;
    }
  }

  readLastLines(id: string, lineCount: number): Promise<string> {
    return this.#call(`last lines ${id}`, () => this.#find(id)?.lastLines(lineCount) ?? '');
  }
}

function attempt<T>(effect: () => T): { value: T } | { error: unknown } {
  try {
    return { value: effect() };
  } catch (error) {
    return { error };
  }
}

function engineAway(what: string): RuntimeError {
  return new RuntimeError('engine_unreachable', `The engine does not answer (${what}).`, {
    isRetryable: true,
  });
}
