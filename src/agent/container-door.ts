// Into a running container: programs beside the main one, and file trees as tar; a narrow port with the engine behind it.
import { type Duplex, PassThrough, type Readable } from 'node:stream';
import Docker from 'dockerode';
import type { ExecRequest } from '../protocol/exec.ts';

export interface RunningExec {
  /** With a terminal everything is on stdout. */
  stdout: Readable;
  stderr: Readable | null;
  stdin: Duplex;
  resize(size: { cols: number; rows: number }): Promise<void>;
  /** After the output has ended; null when the engine does not know. */
  exitCode(): Promise<number | null>;
  /** Ends the program when nobody listens to it any more. */
  kill(): Promise<void>;
}

export interface ContainerDoor {
  exec(containerId: string, request: ExecRequest): Promise<RunningExec>;
  readTree(containerId: string, path: string): Promise<Readable>;
  writeTree(containerId: string, path: string, tar: Readable): Promise<void>;
}

/** Docker's own words for what a user can get wrong. */
export class ContainerDoorClosed extends Error {
  override name = 'ContainerDoorClosed';
}

export class DockerDoor implements ContainerDoor {
  readonly #docker: Docker;

  constructor(socketPath: string | null) {
    this.#docker = new Docker(
      socketPath === null ? {} : { socketPath: socketPath.replace(/^unix:\/\//, '') },
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
    if (tty && cols !== null && rows !== null) await exec.resize({ h: rows, w: cols }).catch(() => {});
    const output = tty ? { stdout: stdin, stderr: null } : this.#split(stdin);
    return {
      ...output,
      stdin,
      resize: async (size) => void (await exec.resize({ h: size.rows, w: size.cols })),
      exitCode: async () => (await exec.inspect()).ExitCode,
      kill: async () => killProgram(await exec.inspect()),
    };
  }

  async readTree(containerId: string, path: string): Promise<Readable> {
    return (await told(this.#docker.getContainer(containerId).getArchive({ path }))) as Readable;
  }

  async writeTree(containerId: string, path: string, tar: Readable): Promise<void> {
    await told(this.#docker.getContainer(containerId).putArchive(tar, { path }));
  }

  #split(stream: Duplex): { stdout: Readable; stderr: Readable } {
    const stdout = new PassThrough();
    const stderr = new PassThrough();
    this.#docker.modem.demuxStream(stream, stdout, stderr);
    stream.once('end', () => {
      stdout.end();
      stderr.end();
    });
    return { stdout, stderr };
  }
}

/** The engine's refusal as a sentence, without its wrapping. */
async function told<T>(call: Promise<T>): Promise<T> {
  try {
    return await call;
  } catch (error) {
    const { json, message } = error as { json?: { message?: string }; message?: string };
    throw new ContainerDoorClosed(json?.message ?? message ?? 'The container engine refused.', {
      cause: error,
    });
  }
}

const hangUpMs = 2_000;

/** The engine cannot end an exec; its process is this machine's, and the agent is root where it may. */
async function killProgram({
  Pid: pid,
  Running: isRunning,
}: {
  Pid: number;
  Running: boolean;
}): Promise<void> {
  if (!isRunning || pid <= 0) return;
  signalIfAlive(pid, 'SIGHUP');
  await new Promise((resolve) => setTimeout(resolve, hangUpMs));
  signalIfAlive(pid, 'SIGKILL');
}

function signalIfAlive(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    const { code } = error as { code?: string };
    if (code !== 'ESRCH' && code !== 'EPERM') throw error;
  }
}
