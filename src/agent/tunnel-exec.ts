// Exec streams: frames from the server become a program's input, its output becomes frames.
import type { ServerHttp2Stream } from 'node:http2';
import type { Readable } from 'node:stream';
import { requestHeader } from '../protocol/data-streams.ts';
import { channels, type ExecRequest } from '../protocol/exec.ts';
import { encodeFrame, type Frame, FrameReader } from '../protocol/frames.ts';
import { type ContainerDoor, ContainerDoorClosed, type RunningExec } from './container-door.ts';
import { refuse, type StreamHandler } from './tunnel.ts';

export interface DoorStreamDeps {
  door: ContainerDoor;
  /** null: no container of that run is up on this node. */
  findRun: (runUuid: string) => { containerId: string } | null;
}

export function execStreams(deps: DoorStreamDeps): StreamHandler {
  return (stream, { target, headers }) => {
    const run = deps.findRun(target.runUuid);
    if (run === null) return refuse(stream, runNotHere);
    const request = readRequest<ExecRequest>(headers);
    deps.door.exec(run.containerId, request).then(
      (exec) => serve(stream, exec),
      (error) => refuse(stream, refusalOf(error)),
    );
  };
}

export const runNotHere = {
  status: 404,
  code: 'run_not_here',
  message: 'No container of this job run is up on the node.',
};

export function readRequest<T>(headers: Readonly<Record<string, unknown>>): T {
  return JSON.parse(decodeURIComponent(String(headers[requestHeader]))) as T;
}

export function refusalOf(error: unknown): { status: number; code: string; message: string } {
  const message = error instanceof Error ? error.message : String(error);
  const status = error instanceof ContainerDoorClosed ? 409 : 502;
  return { status, code: 'conflict', message };
}

function serve(stream: ServerHttp2Stream, exec: RunningExec): void {
  if (stream.destroyed) {
    hangUp(exec);
    return;
  }
  stream.respond({ ':status': 200 });
  readFrames(stream, exec);
  const sent = [send(stream, exec.stdout, channels.stdout)];
  if (exec.stderr !== null) sent.push(send(stream, exec.stderr, channels.stderr));
  let hasEnded = false;
  void Promise.all(sent)
    .then(() => exec.exitCode())
    .then((exitCode) => {
      hasEnded = true;
      if (!stream.writable) return;
      stream.end(encodeFrame({ channel: channels.exit, payload: jsonBytes({ exit_code: exitCode }) }));
    })
    .catch((error: unknown) => stream.destroy(error instanceof Error ? error : new Error(String(error))));
  stream.once('close', () => {
    if (!hasEnded) hangUp(exec);
  });
}

function hangUp(exec: RunningExec): void {
  exec.stdin.destroy();
  // It may have ended on its own meanwhile, which is as good.
  exec.kill().catch(() => {});
}

function readFrames(stream: ServerHttp2Stream, exec: RunningExec): void {
  const reader = new FrameReader();
  stream.on('data', (data: Buffer) => {
    for (const frame of reader.read(data)) apply(frame, { stream, exec });
  });
}

function apply(
  { channel, payload }: Frame,
  { stream, exec }: { stream: ServerHttp2Stream; exec: RunningExec },
): void {
  if (channel === channels.resize) {
    const { cols, rows } = JSON.parse(Buffer.from(payload).toString()) as { cols: number; rows: number };
    // A terminal that is gone needs no size.
    exec.resize({ cols, rows }).catch(() => {});
  }
  if (channel !== channels.stdin || !exec.stdin.writable) return;
  if (payload.length === 0) exec.stdin.end();
  else if (!exec.stdin.write(payload)) {
    stream.pause();
    exec.stdin.once('drain', () => stream.resume());
  }
}

/** Frames of at most 64 KiB; a slow reader slows the program. */
async function send(stream: ServerHttp2Stream, output: Readable, channel: number): Promise<void> {
  for await (const data of output) {
    if (!stream.writable) return;
    const isFull = !stream.write(encodeFrame({ channel, payload: data as Buffer }));
    if (isFull) await new Promise((resolve) => stream.once('drain', resolve).once('close', resolve));
  }
}

function jsonBytes(value: unknown): Uint8Array {
  return Buffer.from(JSON.stringify(value));
}
