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

/** A client that is this far behind is sent away; it comes back with its last id. */
const maxBufferedBytes = 1024 * 1024;
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
  #isEnded = false;

  /** Sends the head; `isStillAllowed` is asked now and then, since keys expire. */
  constructor(
    response: ServerResponse,
    { headers, isStillAllowed }: { headers: Record<string, string>; isStillAllowed: () => boolean },
  ) {
    this.#response = response;
    this.#isStillAllowed = isStillAllowed;
    response.on('close', () => this.#close());
    response.on('error', () => this.#close());
    response.writeHead(200, {
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-store',
      'x-accel-buffering': 'no',
      ...headers,
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

  send({ id, event, json }: StreamMessage): void {
    if (this.#isEnded) return;
    if (this.#response.writableLength > maxBufferedBytes) {
      this.end('too_slow');
      return;
    }
    const head = `${id === undefined ? '' : `id: ${id}\n`}${event === undefined ? '' : `event: ${event}\n`}`;
    this.#response.write(`${head}data: ${json}\n\n`);
  }

  /** Resolves when the client has taken what was sent, or is gone. */
  async drained(): Promise<void> {
    const response = this.#response;
    if (!response.writableNeedDrain || this.closed.aborted) return;
    await new Promise<void>((resolve) => {
      response.once('drain', resolve);
      this.closed.addEventListener('abort', () => resolve(), { once: true });
    });
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
