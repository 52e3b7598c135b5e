// Exec streams: frames from the server become a program's input, its output becomes frames.
import type { DataStream } from '../ingress/data-stream.ts';
import { channels, type ExecRequest, readSize } from '../protocol/exec.ts';
import { encodeFrame, type Frame, FrameReader } from '../protocol/frames.ts';
import type { ContainerDoor, RunningExec } from './container-door.ts';
import { ContainerDoorClosed, startRefusal } from './door-refusals.ts';
import type { OutputPiece } from './exec-output.ts';
import type { AgentLog } from './log.ts';
import type { StreamHandler } from './tunnel.ts';

export interface DoorStreamDeps {
  door: ContainerDoor;
  log: AgentLog;
  /** null: no container of that run is up on this node. */
  findRun: (runUuid: string) => { containerId: string } | null;
}

export function execStreams(deps: DoorStreamDeps): StreamHandler {
  return (stream, opening) => {
    const run = deps.findRun(opening.runUuid);
    if (run === null) return stream.refuse(runNotHere);
    // The server checked what is in it.
    const request = opening.request as ExecRequest;
    deps.door.exec(run.containerId, request).then(
      (exec) => serve(stream, { exec, request, log: deps.log }),
      (error) => stream.refuse(refusalOf(error, deps.log)),
    );
  };
}

export const runNotHere = {
  status: 409,
  code: 'conflict',
  message: 'No container of this job run is up on the node.',
};

export function refusalOf(error: unknown, log: AgentLog): { status: number; code: string; message: string } {
  if (error instanceof ContainerDoorClosed && error.status < 500) return error;
  const { cause } = error as { cause?: unknown };
  log.warn({ reason: String(cause ?? error) }, 'the engine refused a stream into a container');
  if (error instanceof ContainerDoorClosed) return error;
  return { status: 502, code: 'unavailable', message: 'The node could not do this; try again.' };
}

interface Served {
  exec: RunningExec;
  request: ExecRequest;
  log: AgentLog;
}

function serve(stream: DataStream, served: Served): void {
  const { exec, log } = served;
  const closed = new AbortController();
  let hasEnded = false;
  // A program whose reader is gone must not fail the agent.
  exec.stdin.on('error', () => {});
  stream.once('close', () => {
    closed.abort();
    if (!hasEnded) hangUp(exec, log);
  });
  if (stream.destroyed) {
    hangUp(exec, log);
    return;
  }
  stream.accept();
  readFrames(stream, exec);
  sendAll(stream, served, closed.signal).then(
    (last) => {
      hasEnded = true;
      if (stream.writable) stream.end(last);
    },
    (error) => {
      if (closed.signal.aborted) return;
      const { code, message } = refusalOf(error, log);
      stream.end(encodeFrame({ channel: channels.error, payload: jsonBytes({ code, message }) }));
    },
  );
}

function hangUp(exec: RunningExec, log: AgentLog): void {
  exec.stdin.destroy();
  exec.kill().catch((error) => log.debug({ reason: String(error) }, 'a program could not be ended'));
}

function readFrames(stream: DataStream, exec: RunningExec): void {
  const reader = new FrameReader();
  stream.on('data', (data: Buffer) => {
    try {
      for (const frame of reader.read(data)) apply(frame, exec);
    } catch {
      stream.destroy();
      return;
    }
    if (!exec.stdin.writableNeedDrain) return;
    stream.pause();
    exec.stdin.once('drain', () => stream.resume());
    exec.stdin.once('close', () => stream.resume());
  });
}

function apply({ channel, payload }: Frame, exec: RunningExec): void {
  if (channel === channels.resize) {
    const size = readSize(payload);
    // A terminal that is gone needs no size.
    if (size !== null) exec.resize(size).catch(() => {});
  }
  if (channel !== channels.stdin || !exec.stdin.writable) return;
  if (payload.length === 0) exec.stdin.end();
  else exec.stdin.write(payload);
}

/** Sends what the program writes, and answers its last frame. A slow reader slows the program. */
async function sendAll(
  stream: DataStream,
  { exec, request }: Served,
  signal: AbortSignal,
): Promise<Uint8Array> {
  let held: OutputPiece | null = null;
  let isFirst = true;
  for await (const piece of exec.output) {
    if (held !== null) await send(stream, held);
    held = isFirst && engineWords.test(piece.bytes.toString('latin1', 0, 64)) ? piece : null;
    if (held === null) await send(stream, piece);
    isFirst = false;
  }
  const { exitCode, hasStarted } = await exec.end(signal);
  if (!hasStarted && exitCode !== 0) {
    const refusal = startRefusal(request.command[0] ?? '', held?.bytes.toString() ?? '');
    return encodeFrame({ channel: channels.error, payload: jsonBytes(refusal) });
  }
  if (held !== null) await send(stream, held);
  return encodeFrame({ channel: channels.exit, payload: jsonBytes({ exit_code: exitCode }) });
}

/** The engine says why a program did not start where the program's output would be: held until it is known whose it is. */
const engineWords = /^(OCI runtime exec failed|rpc error|cannot exec|container [0-9a-f]+ )/i;

async function send(stream: DataStream, { stream: name, bytes }: OutputPiece): Promise<void> {
  if (!stream.writable || stream.write(encodeFrame({ channel: channels[name], payload: bytes }))) return;
  await new Promise<void>((resolve) => {
    const settle = () => {
      stream.off('drain', settle).off('close', settle);
      resolve();
    };
    stream.once('drain', settle).once('close', settle);
  });
}

function jsonBytes(value: unknown): Uint8Array {
  return Buffer.from(JSON.stringify(value));
}
