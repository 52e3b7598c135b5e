// A program in a running container, over one WebSocket: its input, its output, its terminal's size and its end.
import { Readable, Writable } from 'node:stream';
import { WebSocket } from 'ws';
import { channels } from '../protocol/exec.ts';
import { ApiError, ConnectionError } from './errors.ts';

export interface ExecOptions {
  command: string[];
  /** A terminal: everything is on stdout, and the size counts. */
  tty?: boolean;
  cols?: number;
  rows?: number;
  /** Ends the program. */
  signal?: AbortSignal;
}

export interface Exec {
  /** `end()` closes the program's standard input, its output goes on. */
  stdin: Writable;
  /** Both must be read: what is not read makes the program wait. */
  stdout: Readable;
  stderr: Readable;
  resize(size: { cols: number; rows: number }): void;
  /** null: not known. Rejects with ApiError when the program could not be run, with ConnectionError when the line broke. */
  exitCode: Promise<number | null>;
  /** Ends the program. */
  close(): void;
}

/** Refused by the container itself: as a shell would say it (126, 127). */
export class CommandNotRun extends Error {
  override name = 'CommandNotRun';
  readonly exitCode: number;

  constructor(message: string, exitCode: number) {
    super(message);
    this.exitCode = exitCode;
  }
}

const openMs = 15_000;
const closeMs = 2_000;
/** The server takes messages of 1 MiB. */
const maxPieceBytes = 256 * 1024;
const pingMs = 20_000;

/** `url` is of the WebSocket, ticket and all. */
export async function openExec(
  url: URL,
  { ca, signal }: { ca: string | Buffer | undefined; signal: AbortSignal | undefined },
): Promise<Exec> {
  signal?.throwIfAborted();
  const socket = new WebSocket(url, {
    handshakeTimeout: openMs,
    perMessageDeflate: false,
    ...(ca === undefined ? {} : { ca }),
  });
  const exec = wire(socket, url.origin);
  const abort = () => exec.close();
  signal?.addEventListener('abort', abort);
  socket.once('close', () => signal?.removeEventListener('abort', abort));
  await new Promise<void>((resolve, reject) => {
    socket.once('open', resolve);
    socket.once('error', (error) => reject(new ConnectionError(url.origin, error)));
    socket.once('close', () => reject(new ConnectionError(url.origin, new Error('the connection was cut'))));
  });
  return exec;
}

function wire(socket: WebSocket, origin: string): Exec {
  const full = new Set<Readable>();
  const newOutput = () => {
    const wanted = () => {
      full.delete(output);
      if (full.size === 0) socket.resume();
    };
    const output: Readable = new Readable({ read: wanted });
    return output.once('close', wanted);
  };
  const outputs = { stdout: newOutput(), stderr: newOutput() };
  const push = (output: Readable, bytes: Buffer) => {
    if (bytes.length === 0 || output.destroyed || output.push(bytes)) return;
    full.add(output);
    socket.pause();
  };
  const stdin = inputOf(socket);
  const exitCode = new Promise<number | null>((resolve, reject) => {
    socket.on('message', (data: Buffer) => {
      const payload = data.subarray(1);
      if (data[0] === channels.stdout) push(outputs.stdout, payload);
      if (data[0] === channels.stderr) push(outputs.stderr, payload);
      if (data[0] === channels.exit) resolve(exitCodeOf(payload));
      if (data[0] === channels.error) reject(errorOf(payload));
    });
    socket.on('error', (error) => reject(new ConnectionError(origin, error)));
    socket.on('close', () => reject(new ConnectionError(origin, new Error('the connection was cut'))));
  });
  // Whoever waits for it hears of it; whoever closed on purpose does not have to.
  exitCode.catch(() => {});
  const stopPings = ping(socket);
  socket.once('close', () => {
    stopPings();
    outputs.stdout.push(null);
    outputs.stderr.push(null);
    stdin.destroy();
  });
  return {
    ...outputs,
    stdin,
    exitCode,
    resize: (size) => send(socket, channels.resize, Buffer.from(JSON.stringify(size))),
    close: () => endSocket(socket),
  };
}

function inputOf(socket: WebSocket): Writable {
  const input = new Writable({
    write(chunk: Buffer, _encoding, done) {
      const pieces = piecesOf(chunk);
      const next = () => {
        const piece = pieces.next();
        if (piece.done || socket.readyState !== socket.OPEN) return done();
        socket.send(framed(channels.stdin, piece.value), (error) => (error ? done() : next()));
      };
      next();
    },
    final(done) {
      send(socket, channels.stdin, Buffer.alloc(0));
      done();
    },
  });
  // A program that has ended takes no input; its exit code says what there is to say.
  input.on('error', () => {});
  return input;
}

function* piecesOf(bytes: Buffer): Generator<Buffer, undefined> {
  for (let at = 0; at < bytes.length; at += maxPieceBytes) yield bytes.subarray(at, at + maxPieceBytes);
}

function send(socket: WebSocket, channel: number, payload: Buffer): void {
  if (socket.readyState === socket.OPEN) socket.send(framed(channel, payload));
}

function framed(channel: number, payload: Buffer): Buffer {
  return Buffer.concat([Buffer.of(channel), payload]);
}

/** A server that went away without a word is found out; while output waits to be read it cannot answer. */
function ping(socket: WebSocket): () => void {
  let isAlive = true;
  socket.on('pong', () => {
    isAlive = true;
  });
  const timer = setInterval(() => {
    if (socket.isPaused || socket.readyState !== socket.OPEN) return;
    if (!isAlive) socket.terminate();
    else socket.ping();
    isAlive = false;
  }, pingMs);
  return () => clearInterval(timer);
}

function endSocket(socket: WebSocket): void {
  if (socket.readyState === socket.CLOSED) return;
  socket.close();
  socket.resume();
  const timer = setTimeout(() => socket.terminate(), closeMs);
  socket.once('close', () => clearTimeout(timer));
}

function exitCodeOf(payload: Buffer): number | null {
  const { exit_code: exitCode } = JSON.parse(payload.toString()) as { exit_code?: unknown };
  return typeof exitCode === 'number' ? exitCode : null;
}

const statusOf: Record<string, number> = { permission_denied: 403, not_found: 404, conflict: 409 };

function errorOf(payload: Buffer): Error {
  const {
    code,
    message,
    exit_code: exitCode,
  } = JSON.parse(payload.toString()) as {
    code?: string;
    message?: string;
    exit_code?: number;
  };
  if (typeof exitCode === 'number') return new CommandNotRun(String(message), exitCode);
  const text = JSON.stringify({ error: { code, message } });
  return new ApiError({ status: statusOf[code ?? ''] ?? 503, text });
}
