// One client's stream of server-sent events: framing, keep-alive, and a bound on what waits for a client that reads slowly.
import type { ServerResponse } from 'node:http';
import type { StreamEnd } from '../protocol/event.ts';

export interface StreamMessage {
  /** What the client sends back as Last-Event-ID. */
  id?: string;
  /** Absent: the stream's own kind of message. */
  event?: string;
  /** JSON on one line. */
  json: string;
}

/** What waits for a client that reads slowly; the rest stays in the database until it has read. */
const maxBufferedBytes = 1024 * 1024;
/** A client that has not read it by then is sent away, and comes back with its last id. */
const drainMs = 30_000;
export const keepAliveMs = 15_000;
/** How long a client that is sent away may take to read the rest. */
const lastBytesMs = 5_000;
/** What EventSource waits before it comes back. */
const reconnectMs = 1_000;

export class EventStream {
  readonly #response: ServerResponse;
  readonly #closed = new AbortController();
  readonly #timer: NodeJS.Timeout;
  readonly #isStillAllowed: () => boolean;
  readonly #drainMs: number;
  #isEnded = false;

  /** Sends the head; `isStillAllowed` is asked now and then, since keys expire. */
  constructor(
    response: ServerResponse,
    options: { headers: Record<string, string>; isStillAllowed: () => boolean; drainMs?: number },
  ) {
    this.#response = response;
    this.#isStillAllowed = options.isStillAllowed;
    this.#drainMs = options.drainMs ?? drainMs;
    response.on('close', () => this.#close());
    response.on('error', () => this.#close());
    response.writeHead(200, {
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-store',
      'x-accel-buffering': 'no',
      ...options.headers,
    });
    response.write(`retry: ${reconnectMs}\n\n`);
    this.#timer = setInterval(() => this.#keepAlive(), keepAliveMs);
    // It may have gone while it was let in.
    if (response.destroyed) this.#close();
  }

  /** Aborted when the client is gone or was sent away. */
  get closed(): AbortSignal {
    return this.#closed.signal;
  }

  /** Nothing more should be sent until it has `drained`. */
  get isFull(): boolean {
    return this.#response.writableLength > maxBufferedBytes;
  }

  send({ id, event, json }: StreamMessage): void {
    if (this.#isEnded) return;
    const head = `${id === undefined ? '' : `id: ${id}\n`}${event === undefined ? '' : `event: ${event}\n`}`;
    this.#response.write(`${head}data: ${json}\n\n`);
  }

  /** Resolves when the client has taken what was sent, is gone, or was sent away because it reads too slowly. */
  async drained(): Promise<void> {
    const response = this.#response;
    if (!response.writableNeedDrain || this.closed.aborted) return;
    const timer = setTimeout(() => this.end('too_slow'), this.#drainMs);
    await new Promise<void>((resolve) => {
      const done = () => {
        response.off('drain', done);
        this.closed.removeEventListener('abort', done);
        resolve();
      };
      response.on('drain', done);
      this.closed.addEventListener('abort', done);
    });
    clearTimeout(timer);
  }

  /** Says why, and closes. */
  end(reason: StreamEnd): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    clearInterval(this.#timer);
    this.#response.end(`event: end\ndata: ${JSON.stringify({ reason })}\n\n`);
    setTimeout(() => this.#response.destroy(), lastBytesMs).unref();
    this.#closed.abort();
  }

  #keepAlive(): void {
    if (!this.#isStillAllowed()) this.end('key_ended');
    else if (!this.#response.writableNeedDrain) this.#response.write(':\n\n');
  }

  #close(): void {
    this.#isEnded = true;
    clearInterval(this.#timer);
    this.#closed.abort();
  }
}
