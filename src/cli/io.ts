// What the command line needs of the process around it, passed in so that tests can stand in for it.
import { homedir } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';

export interface Output {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  readonly columns?: number;
}

export interface Io {
  stdin: AsyncIterable<Uint8Array | string> & { readonly isTTY?: boolean };
  stdout: Output;
  stderr: Output;
  env: Readonly<Record<string, string | undefined>>;
  homeDirectory: string;
  isRoot: boolean;
  nowMs(): number;
  /** Rejects when `signal` aborts. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /** Runs `listener` at the first Ctrl-C, until the returned function is called; a second one ends the process. */
  onInterrupt(listener: () => void): () => void;
}

/** The very streams of the process, for bytes and the terminal's modes. */
export interface RawStreams {
  stdin: NodeJS.ReadStream;
  stdout: NodeJS.WriteStream;
  stderr: NodeJS.WriteStream;
}

export function rawStreams(): RawStreams {
  return { stdin: process.stdin, stdout: process.stdout, stderr: process.stderr };
}

/** The real process. A reader that went away (`| head`) ends it quietly. */
export function processIo(): Io {
  for (const stream of [process.stdout, process.stderr]) stream.on('error', endQuietlyOnClosedPipe);
  return {
    stdin: process.stdin,
    stdout: process.stdout,
    stderr: process.stderr,
    env: process.env,
    homeDirectory: homedir(),
    isRoot: process.getuid?.() === 0,
    nowMs: () => Date.now(),
    sleep: (ms, signal) => delay(ms, undefined, signal ? { signal } : {}),
    onInterrupt(listener) {
      process.once('SIGINT', listener);
      return () => process.off('SIGINT', listener);
    },
  };
}

function endQuietlyOnClosedPipe(error: NodeJS.ErrnoException) {
  if (error.code === 'EPIPE') process.exit(0);
  throw error;
}
