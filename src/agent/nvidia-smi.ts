// Runs nvidia-smi, which hangs where the driver does: an answer always comes in time, and none is started beside one that hangs.
import { type ChildProcess, execFile } from 'node:child_process';

/** `text`: lines of CSV, and what it said of devices that it could not read. `why`: a sentence. */
export type SmiAnswer = { kind: 'text'; text: string } | { kind: 'absent' } | { kind: 'failed'; why: string };

export interface NvidiaSmiOptions {
  command?: string;
  timeoutMs?: number;
  /** Ends one that did not answer in time. */
  kill?: (child: ChildProcess) => void;
}

/** A first call after boot loads the driver, which takes seconds. */
const defaultTimeoutMs = 10_000;
/** It names a device that fell off the bus, and goes on with the others. */
const lostDevice = /Unable to determine the device handle|GPU is lost|fallen off the bus/i;
const mismatch = /version mismatch/i;

type SmiError = Error & { code?: string | number | null };

export class NvidiaSmi {
  readonly #command: string;
  readonly #timeoutMs: number;
  readonly #kill: (child: ChildProcess) => void;
  /** Told to end, and still there: they wait in the kernel for the driver. */
  readonly #hanging = new Set<ChildProcess>();

  constructor({
    command = 'nvidia-smi',
    timeoutMs = defaultTimeoutMs,
    kill = killHard,
  }: NvidiaSmiOptions = {}) {
    this.#command = command;
    this.#timeoutMs = timeoutMs;
    this.#kill = kill;
  }

  /** `question` such as `--query-gpu=uuid,name`; never rejects. */
  async ask(question: string): Promise<SmiAnswer> {
    const [stuck] = this.#hanging;
    if (stuck !== undefined)
      return {
        kind: 'failed',
        why: `nvidia-smi (process ${stuck.pid}) hangs and cannot be ended; check the GPU driver, and restart the machine.`,
      };
    return new Promise((resolve) => {
      const options = { maxBuffer: 4 * 1024 * 1024 };
      const child = execFile(
        this.#command,
        [question, '--format=csv,noheader,nounits'],
        options,
        (error, stdout, stderr) => {
          clearTimeout(timer);
          resolve(answerOf(error, stdout, stderr));
        },
      );
      const timer = setTimeout(() => {
        this.#giveUp(child);
        const seconds = this.#timeoutMs / 1000;
        resolve({
          kind: 'failed',
          why: `nvidia-smi did not answer within ${seconds} s; check the GPU driver.`,
        });
      }, this.#timeoutMs);
    });
  }

  /** Its end is not waited for, nor that of whoever else holds its output. */
  #giveUp(child: ChildProcess): void {
    this.#hanging.add(child);
    child.once('exit', () => this.#hanging.delete(child));
    this.#kill(child);
    child.stdout?.destroy();
    child.stderr?.destroy();
    child.unref();
  }
}

function killHard(child: ChildProcess): void {
  child.kill('SIGKILL');
}

function answerOf(error: SmiError | null, stdout: string, stderr: string): SmiAnswer {
  const said = stdout + stderr;
  if (error === null) return { kind: 'text', text: stdout };
  if (error.code === 'ENOENT') return { kind: 'absent' };
  if (lostDevice.test(said)) return { kind: 'text', text: `${stdout.trimEnd()}\n${stderr}` };
  const first = said.trim().split('\n')[0]?.slice(0, 300) ?? '';
  const hint = mismatch.test(said)
    ? ' (the driver was updated under a running kernel: restart the machine)'
    : '';
  const words = first === '' ? error.message.split('\n')[0] : first;
  return { kind: 'failed', why: `nvidia-smi failed, check the GPU driver: ${words}${hint}` };
}
