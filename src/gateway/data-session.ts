// One data connection: the HTTP/2 session over it, with the server as the client that opens streams.
import { type ClientHttp2Session, type ClientHttp2Stream, connect, constants } from 'node:http2';
import type { Duplex } from 'node:stream';
import {
  connectionWindowBytes,
  dataPingMs,
  maxStreamsPerSession,
  parseRefusal,
  type StreamRefusal,
  sessionMemoryMib,
  streamWindowBytes,
} from '../protocol/data-streams.ts';

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

/** Longer than the agent's own patience with a container port. */
const acceptMs = 15_000;

export class DataSession {
  readonly #session: ClientHttp2Session;
  readonly #pinger: NodeJS.Timeout;
  #streamCount = 0;
  #idleSinceMs = performance.now();

  /** `socket`: after the upgrade was answered. */
  constructor(socket: Duplex, onClose: () => void) {
    this.#session = connect('http://agent', {
      createConnection: () => socket,
      maxSessionMemory: sessionMemoryMib,
      peerMaxConcurrentStreams: maxStreamsPerSession,
      settings: { enablePush: false, initialWindowSize: streamWindowBytes },
    });
    this.#session.on('connect', () => this.#session.setLocalWindowSize(connectionWindowBytes));
    this.#session.on('error', () => {});
    this.#session.once('close', () => {
      clearInterval(this.#pinger);
      onClose();
    });
    this.#pinger = setInterval(() => this.#ping(), dataPingMs);
  }

  get isOpen(): boolean {
    return !this.#session.closed && !this.#session.destroyed;
  }

  get streamCount(): number {
    return this.#streamCount;
  }

  /** 0 while a stream is open. */
  get idleMs(): number {
    return this.#streamCount > 0 ? 0 : performance.now() - this.#idleSinceMs;
  }

  /** Resolves when the agent has accepted the stream; rejects with StreamRefused when it has not. */
  open(headers: Record<string, string>): Promise<ClientHttp2Stream> {
    const stream = this.#session.request(headers, { endStream: false });
    this.#streamCount += 1;
    stream.once('close', () => {
      this.#streamCount -= 1;
      this.#idleSinceMs = performance.now();
    });
    return accepted(stream);
  }

  destroy(): void {
    this.#session.destroy();
  }

  /** The previous ping must have come back: else the peer is gone. */
  #ping(): void {
    const timer = setTimeout(() => this.#session.destroy(), dataPingMs - 1_000);
    const isSent = this.#session.ping((error) => {
      if (error === null) clearTimeout(timer);
    });
    if (!isSent) clearTimeout(timer);
    this.#session.once('close', () => clearTimeout(timer));
  }
}

function accepted(stream: ClientHttp2Stream): Promise<ClientHttp2Stream> {
  return new Promise((resolve, reject) => {
    const fail = (error: Error) => {
      clearTimeout(timer);
      stream.close(constants.NGHTTP2_CANCEL);
      reject(error);
    };
    const timer = setTimeout(
      () => fail(new Error('The agent did not answer for a stream in time.')),
      acceptMs,
    );
    stream.on('error', (cause) => fail(new Error('The data connection broke.', { cause })));
    stream.once('close', () => fail(new Error('The data connection broke.')));
    stream.once('response', (headers) => {
      const refusal = parseRefusal(headers);
      if (refusal !== null) return fail(new StreamRefused(refusal));
      clearTimeout(timer);
      resolve(stream);
    });
  });
}
