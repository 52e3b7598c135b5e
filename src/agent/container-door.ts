// Into a running container: programs beside the main one, and file trees as tar; a narrow port with the engine behind it.
import type { Duplex, Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import Docker from 'dockerode';
import type { ExecRequest } from '../protocol/exec.ts';
import { doorRefusal } from './door-refusals.ts';
import { type OutputPiece, splitOutput, terminalOutput } from './exec-output.ts';
import { endSession } from './exec-processes.ts';

export interface ExecEnd {
  /** null when the engine does not know. */
  exitCode: number | null;
  /** false: the engine could not start it, and its output is the engine's own words. */
  hasStarted: boolean;
}

export interface RunningExec {
  /** With a terminal everything is on stdout. */
  output: AsyncIterable<OutputPiece>;
  stdin: Duplex;
  resize(size: { cols: number; rows: number }): Promise<void>;
  /** Resolves when the program has ended; rejects when its container is gone. */
  end(signal: AbortSignal): Promise<ExecEnd>;
  /** Ends the program when nobody listens to it any more. */
  kill(): Promise<void>;
}

/** Calls throw ContainerDoorClosed for what a user can get wrong. */
export interface ContainerDoor {
  exec(containerId: string, request: ExecRequest): Promise<RunningExec>;
  readTree(containerId: string, path: string): Promise<Readable>;
  /** Throws unless the path is a folder: before any byte of a tar is sent for it. */
  requireFolder(containerId: string, path: string): Promise<void>;
  /** Without an end of `tar` the signal must abort, else the engine waits for it. */
  writeTree(containerId: string, path: string, tar: Readable, signal: AbortSignal): Promise<void>;
}

const answerMs = 30_000;
/** Unpacking a large tar on a slow disk. */
const writeMs = 30 * 60_000;
const startedPollMs = 10;
const endedPollMs = { first: 10, last: 1_000 };

export class DockerDoor implements ContainerDoor {
  readonly #docker: Docker;

  /** `socketPath` null: DOCKER_HOST, else the usual socket. */
  constructor(socketPath: string | null) {
    const path = socketPath?.replace(/^unix:\/\//, '');
    // A socket that was asked for goes before DOCKER_HOST, which the modem would prefer.
    this.#docker = new Docker(
      path === undefined ? {} : { socketPath: path, host: undefined, protocol: 'http' as const },
    );
  }

  async exec(containerId: string, { command, tty, cols, rows }: ExecRequest): Promise<RunningExec> {
    const exec = await told(
      this.#docker.getContainer(containerId).exec({
        Cmd: command,
        Tty: tty,
        AttachStdin: true,
        AttachStdout: true,
        AttachStderr: true,
        ...(tty ? { Env: ['TERM=xterm-256color'] } : {}),
      }),
    );
    const stdin = await told(exec.start({ hijack: true, stdin: true, Tty: tty }));
    const resize = async (size: { cols: number; rows: number }) =>
      void (await told(exec.resize({ h: size.rows, w: size.cols })));
    if (tty && cols !== null && rows !== null) void resizeOnceStarted(() => resize({ cols, rows }));
    return {
      output: tty ? terminalOutput(stdin) : splitOutput(stdin),
      stdin,
      resize,
      end: (signal) => endOf(exec, signal),
      kill: () => killProgram(exec, containerId),
    };
  }

  async readTree(containerId: string, path: string): Promise<Readable> {
    const call = this.#docker.getContainer(containerId).getArchive({ path });
    return (await told(call, path)) as Readable;
  }

  async requireFolder(containerId: string, path: string): Promise<void> {
    // "/." makes the engine follow a link and refuse what is no folder; a HEAD would not say why.
    const folder = `${path.replace(/\/+$/, '')}/.`;
    const call = this.#docker.getContainer(containerId).getArchive({ path: folder });
    const tar = (await told(call, path)) as Readable;
    tar.on('error', () => {});
    tar.destroy();
  }

  async writeTree(containerId: string, path: string, tar: Readable, signal: AbortSignal): Promise<void> {
    // Owners are those of the tar: with copyUIDGID the engine looks for the container's user among the host's. A folder is not
    // replaced by a file, nor the other way round.
    const options = { path, noOverwriteDirNonDir: 'true', abortSignal: signal };
    await told(this.#docker.getContainer(containerId).putArchive(tar, options), path, writeMs);
  }
}

/** The engine's refusal as a sentence, and an end to waiting for it. */
async function told<T>(call: Promise<T>, path: string | null = null, limitMs = answerMs): Promise<T> {
  const timer = new AbortController();
  const late = sleep(limitMs, null, { signal: timer.signal }).then(() => {
    throw new Error('The container engine did not answer in time; try again.');
  });
  late.catch(() => {});
  try {
    return await Promise.race([call, late]);
  } catch (error) {
    throw doorRefusal(error, path);
  } finally {
    timer.abort();
  }
}

/** The engine refuses a size until the program runs, which is a moment after it said so. */
async function resizeOnceStarted(resize: () => Promise<void>): Promise<void> {
  for (let tries = 0; tries < 50; tries += 1) {
    const isDone = await resize().then(
      () => true,
      () => false,
    );
    if (isDone) return;
    await sleep(startedPollMs);
  }
}

/** The output may end a moment before the program, or long before it. */
async function endOf(exec: Docker.Exec, signal: AbortSignal): Promise<ExecEnd> {
  for (let waitMs = endedPollMs.first; ; waitMs = Math.min(waitMs * 2, endedPollMs.last)) {
    const { Running: isRunning, ExitCode: exitCode, Pid: pid } = await told(exec.inspect());
    if (!isRunning) return { exitCode, hasStarted: pid > 0 };
    await sleep(waitMs, null, { signal });
  }
}

async function killProgram(exec: Docker.Exec, containerId: string): Promise<void> {
  for (let tries = 0; tries < 50; tries += 1) {
    const { Running: isRunning, Pid: pid } = await told(exec.inspect());
    if (!isRunning) return;
    if (pid > 0) return endSession(pid, containerId);
    await sleep(startedPollMs);
  }
}
