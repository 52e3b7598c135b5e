// One process of the place that is killed, frozen and started again: a server, an agent or an engine.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

export interface DaemonOptions {
  name: string;
  logFile: string;
  command: readonly string[];
  env: NodeJS.ProcessEnv;
  /** Right before each start: what a killed one left in the way is removed. */
  prepare?: () => void;
  /** It ended although nobody here ended it; `lastWords` is what it said last. */
  onSurprise: (ending: string, lastWords: string) => void;
}

const stopLimitMs = 20_000;
const surpriseRestartMs = 700;

/** At most one process at a time; it is started again when it ends by itself. */
export class Daemon {
  readonly name: string;
  readonly logFile: string;
  readonly #options: DaemonOptions;
  #child: ChildProcess | null = null;
  #isEndExpected = false;

  constructor(options: DaemonOptions) {
    this.#options = options;
    this.name = options.name;
    this.logFile = options.logFile;
  }

  get pid(): number | null {
    return this.#child?.pid ?? null;
  }

  /** The process gets the signal TERM when this one dies, however it does. */
  start(): void {
    if (this.#child !== null) return;
    const { command, env, logFile, prepare } = this.#options;
    prepare?.();
    const log = openSync(logFile, 'a');
    const child = spawn('setpriv', ['--pdeathsig', 'TERM', ...command], {
      env,
      stdio: ['ignore', log, log],
    });
    closeSync(log);
    this.#child = child;
    this.#isEndExpected = false;
    child.once('exit', (code, signal) => {
      this.#child = null;
      if (this.#isEndExpected) return;
      const ending = `${this.name} ended by itself (${signal ?? `exit code ${code}`})`;
      this.#options.onSurprise(ending, lastWords(logFile));
      setTimeout(() => {
        if (!this.#isEndExpected) this.start();
      }, surpriseRestartMs);
    });
  }

  async kill(): Promise<void> {
    await this.#end('SIGKILL');
  }

  freeze(): void {
    this.#child?.kill('SIGSTOP');
  }

  thaw(): void {
    this.#child?.kill('SIGCONT');
  }

  /** As an operator would; by force when it does not end. */
  async stop(): Promise<void> {
    this.thaw();
    const isLate = Symbol();
    const timeout = new AbortController();
    const late = sleep(stopLimitMs, isLate, { signal: timeout.signal }).catch(() => {});
    const first = await Promise.race([this.#end('SIGTERM'), late]);
    timeout.abort();
    if (first === isLate) await this.kill();
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    this.#isEndExpected = true;
    const child = this.#child;
    if (child === null) return;
    const ended = once(child, 'exit');
    child.kill(signal);
    await ended;
  }
}

/** Records of its log may follow the sentence that it ends with. */
function lastWords(file: string): string {
  const lines = readFileSync(file, 'utf8').trimEnd().split('\n').slice(-4);
  return lines.findLast((line) => !line.startsWith('{')) ?? lines.at(-1) ?? '';
}
