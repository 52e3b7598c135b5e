// A data connection: one socket that the agent dialled, carrying one stream at a time, opened by the server.
import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { DataFrameReader, type FrameKind, frameHeader } from '../protocol/data-frames.ts';
import {
  dataPingMs,
  dataSilenceMs,
  parseOpening,
  parseRefusal,
  type StreamOpening,
  type StreamRefusal,
} from '../protocol/data-streams.ts';
import { DataStream, type Line } from './data-stream.ts';

/** The agent said no to a stream, and why. */
export class StreamRefused extends Error {
  readonly status: number;
  readonly code: string;

  constructor({ status, code, message }: StreamRefusal) {
    super(message);
    this.name = 'StreamRefused';
    this.status = status;
    this.code = code;
  }
}

export interface DataConnectionOptions {
  /** Takes the streams that the other end opens; absent: it may open none. */
  onStream?: (stream: DataStream, opening: StreamOpening) => void;
  /** The stream ended in order; another may be opened. */
  onIdle?: () => void;
  onClose?: () => void;
}

interface Asked {
  stream: DataStream;
  resolve: (stream: DataStream) => void;
  reject: (error: Error) => void;
  timer: NodeJS.Timeout;
}

/** Longer than the agent's own patience with a container port. */
const acceptMs = 15_000;
const keepAliveMs = 30_000;
const broken = 'The data connection broke.';

export class DataConnection {
  readonly #socket: Duplex;
  readonly #options: DataConnectionOptions;
  readonly #pinger: NodeJS.Timeout;
  readonly #line: Line;
  #stream: DataStream | null = null;
  #asked: Asked | null = null;
  #hasSentEnd = false;
  #hasReceivedEnd = false;
  #idleSinceMs = performance.now();
  #heardAtMs = performance.now();

  /** `socket`: after the upgrade was answered. */
  constructor(socket: Duplex, options: DataConnectionOptions) {
    this.#socket = socket;
    this.#options = options;
    this.#line = this.#makeLine();
    const reader = new DataFrameReader({
      bytes: (piece) => this.#takeBytes(piece),
      frame: (kind, payload) => this.#takeFrame(kind, payload),
    });
    if (socket instanceof Socket) socket.setKeepAlive(true, keepAliveMs);
    socket.on('error', () => {});
    socket.on('data', (chunk: Buffer) => this.#read(reader, chunk));
    // No end of a stream comes without its frame.
    socket.once('end', () => socket.destroy());
    socket.once('close', () => this.#closed());
    this.#pinger = setInterval(() => this.#ping(), dataPingMs);
  }

  get isOpen(): boolean {
    return !this.#socket.destroyed && this.#socket.writable;
  }

  /** 0 while a stream is open. */
  get idleMs(): number {
    return this.#stream === null ? performance.now() - this.#idleSinceMs : 0;
  }

  /** Resolves when the other end has accepted the stream; rejects with StreamRefused when it has not. */
  open(opening: StreamOpening): Promise<DataStream> {
    const stream = this.#begin();
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        stream.destroy(new Error('The agent did not answer for a stream in time.'));
      }, acceptMs);
      this.#asked = { stream, resolve, reject, timer };
      // Whoever takes the stream listens to it then.
      stream.on('error', () => {});
      this.#send('open', [Buffer.from(JSON.stringify(opening))]);
    });
  }

  destroy(): void {
    this.#socket.destroy();
  }

  #begin(): DataStream {
    const stream = new DataStream(this.#line);
    this.#stream = stream;
    this.#hasSentEnd = false;
    this.#hasReceivedEnd = false;
    return stream;
  }

  get #isOver(): boolean {
    return this.#stream === null || (this.#hasSentEnd && this.#hasReceivedEnd);
  }

  #makeLine(): Line {
    return {
      resume: () => void this.#socket.resume(),
      sendBytes: (chunks, sent) => this.#send('bytes', chunks, sent),
      sendEnd: (sent) => {
        this.#hasSentEnd = true;
        this.#send('end', [], sent);
      },
      accept: () => this.#send('accept', []),
      // An error that carries a refusal is one, but says its message to JSON only when asked.
      refuse: ({ status, code, message }) => {
        this.#hasSentEnd = true;
        this.#hasReceivedEnd = true;
        this.#send('refuse', [Buffer.from(JSON.stringify({ status, code, message }))]);
      },
      hangUp: () => {
        if (!this.#isOver) this.#socket.end();
      },
      leave: (stream) => this.#leave(stream),
    };
  }

  /** One system call for header and payload. */
  #send(kind: FrameKind, chunks: readonly Buffer[], sent: (error?: Error | null) => void = ignore): void {
    const socket = this.#socket;
    const byteCount = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
    socket.cork();
    socket.write(frameHeader(kind, byteCount), chunks.length === 0 ? sent : ignore);
    for (const [at, chunk] of chunks.entries()) socket.write(chunk, at === chunks.length - 1 ? sent : ignore);
    socket.uncork();
  }

  #read(reader: DataFrameReader, chunk: Buffer): void {
    this.#heardAtMs = performance.now();
    try {
      reader.read(chunk);
    } catch {
      this.#socket.destroy();
    }
  }

  #takeBytes(piece: Buffer): void {
    if (this.#stream === null || this.#hasReceivedEnd) throw new Error('Bytes came outside of a stream.');
    if (!this.#stream.push(piece)) this.#socket.pause();
  }

  #takeFrame(kind: Exclude<FrameKind, 'bytes'>, payload: Buffer): void {
    if (kind === 'open') this.#opened(payload);
    if (kind === 'accept') this.#answered((asked) => asked.resolve(asked.stream));
    if (kind === 'refuse') this.#refused(parseRefusal(payload));
    if (kind === 'end') this.#ended();
  }

  #opened(payload: Buffer): void {
    const opening = parseOpening(payload);
    const { onStream } = this.#options;
    if (!this.#isOver || onStream === undefined) throw new Error('A stream was opened out of turn.');
    const stream = this.#begin();
    stream.on('error', () => {});
    if (opening !== null) onStream(stream, opening);
    else
      stream.refuse({
        status: 501,
        code: 'unsupported',
        message: 'This agent knows no such stream; update it.',
      });
  }

  #answered(settle: (asked: Asked) => void): void {
    const asked = this.#asked;
    if (asked === null) throw new Error('An answer came that nobody waits for.');
    this.#asked = null;
    clearTimeout(asked.timer);
    settle(asked);
  }

  #refused(refusal: StreamRefusal): void {
    this.#hasSentEnd = true;
    this.#hasReceivedEnd = true;
    this.#answered(({ stream, reject }) => {
      reject(new StreamRefused(refusal));
      stream.destroy();
    });
  }

  #ended(): void {
    if (this.#stream === null || this.#hasReceivedEnd) throw new Error('A stream ended twice.');
    this.#hasReceivedEnd = true;
    this.#stream.push(null);
  }

  #leave(stream: DataStream): void {
    // Another one is on the line already.
    if (stream !== this.#stream) return;
    if (this.#asked?.stream === stream) {
      const cause = stream.errored ?? undefined;
      this.#answered(({ reject }) => reject(new Error(cause?.message ?? broken, { cause })));
    }
    const isOver = this.#isOver;
    this.#stream = null;
    this.#idleSinceMs = performance.now();
    if (!isOver) {
      this.#socket.destroy();
      return;
    }
    // Its reader may have left it paused.
    this.#socket.resume();
    if (this.isOpen) this.#options.onIdle?.();
  }

  #closed(): void {
    clearInterval(this.#pinger);
    if (this.#isOver) this.#stream?.destroy();
    else this.#stream?.destroy(new Error(broken));
    this.#options.onClose?.();
  }

  #ping(): void {
    const socket = this.#socket;
    // Whoever does not read cannot hear; the kernel's probes find a peer that is gone meanwhile.
    if (socket.isPaused()) this.#heardAtMs = performance.now();
    if (performance.now() - this.#heardAtMs > dataSilenceMs) socket.destroy();
    else if (socket.writable && socket.writableLength === 0) this.#send('ping', []);
  }
}

function ignore(): void {}
