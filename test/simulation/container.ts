// One simulated container: a program that writes its log, runs for a while, and ends by itself, by signal or by force.
import {
  type ContainerSpec,
  type ContainerState,
  type ContainerSummary,
  type LogEntry,
  labelNames,
} from '../../src/agent/runtime.ts';
import type { SimulatedProcess } from './process.ts';
import type { World } from './world.ts';

/** What the job's command says of its program. */
export interface Program {
  /** null: until it is stopped. */
  runMs: number | null;
  exitCode: number;
  /** How long it takes to end after TERM; null: it does not hear it. */
  termMs: number | null;
  lineCount: number;
}

export function commandOf(program: Program): string[] {
  return ['simulate', JSON.stringify(program)];
}

export function parseProgram(command: readonly string[] | null): Program {
  return JSON.parse(command?.[1] ?? '{"runMs":100,"exitCode":0,"termMs":1,"lineCount":1}') as Program;
}

export class SimulatedContainer {
  readonly id: string;
  readonly name: string;
  readonly runUuid: string;
  readonly jobUuid: string;
  readonly attempt: number;
  readonly clusterUuid: string;
  readonly gpuUuids: readonly string[];
  readonly logs: LogEntry[] = [];
  word: 'created' | 'running' | 'exited' = 'created';
  exitCode: number | null = null;
  readonly #program: Program;
  readonly #world: World;
  readonly #wallMs: () => number;
  readonly #onEnd: (container: SimulatedContainer) => void;
  #startedAtMs: number | null = null;
  #endedAtMs: number | null = null;
  #isSignalled = false;
  readonly #listeners = new Set<() => void>();

  constructor(
    world: World,
    options: {
      id: string;
      spec: ContainerSpec;
      program: Program;
      wallMs: () => number;
      onEnd: (container: SimulatedContainer) => void;
    },
  ) {
    const { spec } = options;
    const label = (name: string) => spec.labels[name] ?? '';
    this.id = options.id;
    this.name = spec.name;
    this.runUuid = label(labelNames.run);
    this.jobUuid = label(labelNames.job);
    this.attempt = Number(label(labelNames.attempt));
    this.clusterUuid = label(labelNames.cluster);
    this.gpuUuids = spec.gpuUuids;
    this.#world = world;
    this.#program = options.program;
    this.#wallMs = options.wallMs;
    this.#onEnd = options.onEnd;
  }

  start(): void {
    this.word = 'running';
    this.#startedAtMs = this.#wallMs();
    const { runMs, exitCode, lineCount } = this.#program;
    const spreadMs = Math.min(runMs ?? 5_000, 5_000);
    for (let line = 0; line < lineCount; line += 1)
      this.#later((spreadMs * line) / lineCount, `line ${line}`, () => this.#write(`line ${line}\n`));
    if (runMs !== null) this.#later(runMs, 'ends', () => this.#end(exitCode));
  }

  signal(): void {
    const { termMs } = this.#program;
    if (this.word !== 'running' || this.#isSignalled || termMs === null) return;
    this.#isSignalled = true;
    this.#later(termMs, 'ends by TERM', () => this.#end(143));
  }

  kill(): void {
    if (this.word === 'running') this.#end(137);
    else if (this.word === 'created') this.#world.remark(`${this.id} was never started`);
  }

  summary(): ContainerSummary {
    const { id: containerId, clusterUuid, runUuid, attempt, word: state } = this;
    return { containerId, clusterUuid, runUuid, attempt, state };
  }

  state(): ContainerState {
    const { id: containerId, word: state, exitCode } = this;
    const times = { startedAtMs: this.#startedAtMs, endedAtMs: this.#endedAtMs };
    return {
      containerId,
      imageId: 'image',
      state,
      ...times,
      exitCode,
      isOomKilled: false,
      stopSignal: 'SIGTERM',
    };
  }

  lastLines(count: number): string {
    return this.logs
      .slice(-count)
      .map(({ bytes }) => bytes.toString())
      .join('');
  }

  get logBytes(): number {
    return this.logs.reduce((sum, { bytes }) => sum + bytes.length, 0);
  }

  /** Until something is written, or it ends, or the reader has had enough. */
  nextLog(reader: SimulatedProcess, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const tell = () => {
        this.#listeners.delete(tell);
        this.#world.later(this.#world.random.latency.between(0.2, 5), {
          process: reader,
          what: `log of ${this.id}`,
          run: resolve,
        });
      };
      if (this.word === 'exited') return tell();
      this.#listeners.add(tell);
      signal.addEventListener('abort', () => {
        this.#listeners.delete(tell);
        resolve();
      });
    });
  }

  #write(text: string): void {
    const timestamp = `${new Date(this.#wallMs()).toISOString().slice(0, -1)}000000Z`;
    this.logs.push({ stream: 'stdout', timestamp, bytes: Buffer.from(text) });
    for (const tell of [...this.#listeners]) tell();
  }

  #end(exitCode: number): void {
    this.word = 'exited';
    this.exitCode = exitCode;
    this.#endedAtMs = this.#wallMs();
    for (const tell of [...this.#listeners]) tell();
    this.#onEnd(this);
  }

  #later(delayMs: number, what: string, run: () => void): void {
    this.#world.later(delayMs, {
      process: null,
      what: `${this.id} ${what}`,
      run: () => {
        if (this.word === 'running') run();
      },
    });
  }
}
