// A simulated node: a machine with an engine, GPUs and a small disk, and the real agent as a process on it.

import { type AgentOptions, runAgent } from '../../src/agent/agent.ts';
import type { Machine } from '../../src/agent/agent-stores.ts';
import type { GpuUse } from '../../src/agent/gpu-use.ts';
import type { AgentLog } from '../../src/agent/log.ts';
import type { StateFile } from '../../src/agent/state-file.ts';
import type { GpuInventory } from '../../src/protocol/agent-messages.ts';
import type { SimulatedContainer } from './container.ts';
import { SimulatedEngine } from './engine.ts';
import type { Network } from './network.ts';
import { type MachineTime, SimulatedProcess } from './process.ts';
import { epochMs, type World } from './world.ts';

export interface NodeShape {
  id: string;
  name: string;
  cpuCount: number;
  ramBytes: number;
  storageBytes: number;
  gpuCount: number;
  /** null: its runs go on without the server. */
  stopWhenCutOffMs: number | null;
}

const gpuInUseMib = 4_000;

export class SimulatedNode {
  readonly shape: NodeShape;
  readonly engine: SimulatedEngine;
  readonly gpus: readonly GpuInventory[];
  readonly time: MachineTime;
  process: SimulatedProcess | null = null;
  /** The machine has power. */
  isUp = true;
  /** Until then GPUs without a run look used. */
  gpusDirtyUntilMs = 0;
  readonly #world: World;
  readonly #network: Network;
  readonly #files = new Map<string, string>();
  #lives = 0;
  #abort = new AbortController();

  constructor(
    world: World,
    options: {
      shape: NodeShape;
      network: Network;
      time: MachineTime;
      onStart: (node: SimulatedNode, container: SimulatedContainer) => void;
    },
  ) {
    const { shape, time } = options;
    this.shape = shape;
    this.time = time;
    this.#world = world;
    this.#network = options.network;
    this.gpus = Array.from({ length: shape.gpuCount }, (_, index) => ({
      ...{ index, uuid: `GPU-${shape.name}-${index}`, name: 'NVIDIA GeForce RTX 4090' },
      ...{ vram_mib: 24_564, driver_version: null },
    }));
    this.engine = new SimulatedEngine(world, {
      name: shape.name,
      cpuCount: shape.cpuCount,
      ramBytes: shape.ramBytes,
      wallMs: () => Math.floor(epochMs + world.nowMs + time.wallOffsetMs),
      onStart: (container) => options.onStart(this, container),
    });
  }

  start(): void {
    this.#lives += 1;
    const process = new SimulatedProcess(this.#world, {
      name: `${this.shape.name}/${this.#lives}`,
      time: this.time,
    });
    this.process = process;
    this.#abort = new AbortController();
    void runAgent(this.#agentOptions(process)).catch((error: unknown) =>
      this.#world.violate('the agent never ends by itself', String(error)),
    );
  }

  /** SIGTERM: it ends by itself; containers stay. */
  stopOrderly(): void {
    this.#abort.abort();
    this.process?.kill();
  }

  kill(): void {
    this.process?.kill();
  }

  forgetDisk(): void {
    this.#files.clear();
  }

  isGpuUsed(uuid: string): boolean {
    return [...this.engine.containers.values()].some(
      (container) => container.word === 'running' && container.gpuUuids.includes(uuid),
    );
  }

  #agentOptions(process: SimulatedProcess): AgentOptions {
    const { id, stopWhenCutOffMs } = this.shape;
    return {
      nodeKey: { public_key: id, secret_key: '', url: 'http://servers', node_uuid: id },
      agentVersion: 'simulated',
      sessionUuid: this.#world.newId(),
      engineSocket: null,
      signHeaders: () => ({}),
      log: this.#log(process),
      signal: this.#abort.signal,
      ...(stopWhenCutOffMs === null ? {} : { stopWhenCutOffMs }),
      clock: process.clock,
      random: () => this.#world.random.latency.next(),
      runtime: this.engine.connect(process),
      machine: this.#machine(process),
      dial: () => this.#network.dial(process),
      isolation: {
        state: { isolation: 'enforced', note: null },
        ready: Promise.resolve(),
        run: async () => {},
      },
    };
  }

  #log(process: SimulatedProcess): AgentLog {
    const write = (level: string) => (fields: object, message: string) =>
      this.#world.remark(`${process.name} ${level}: ${message} ${JSON.stringify(fields)}`);
    return { debug: () => {}, info: () => {}, warn: write('warn'), error: write('error') };
  }

  #machine(process: SimulatedProcess): Machine {
    const later = <T>(what: string, read: () => T): Promise<T> =>
      new Promise((resolve) => {
        this.#world.later(this.#world.random.latency.between(1, 30), {
          process,
          what,
          run: () => resolve(read()),
        });
      });
    return {
      readGpus: () => later('gpus read', () => ({ gpus: [...this.gpus], note: null })),
      readGpuUse: () => later('gpu use read', () => this.#gpuUse()),
      readStorage: async () => ({ totalBytes: this.shape.storageBytes, freeBytes: this.shape.storageBytes }),
      openStateFile: (name) => this.#file(name),
    };
  }

  #gpuUse(): Map<string, GpuUse> {
    return new Map(
      this.gpus.map(({ uuid }) => {
        const isUsed = this.isGpuUsed(uuid);
        const isDirty = this.#world.nowMs < this.gpusDirtyUntilMs;
        return [uuid, { uuid, usedMib: isUsed || isDirty ? gpuInUseMib : 4, pids: isUsed ? [7] : [] }];
      }),
    );
  }

  #file(name: string): StateFile {
    return {
      read: () => {
        const text = this.#files.get(name);
        return text === undefined ? null : { content: JSON.parse(text) };
      },
      write: (content) => void this.#files.set(name, JSON.stringify(content)),
    };
  }
}
