// Server-sent events: opens a signed stream, reads its messages, and comes back with the last id when it was cut.
import type { Readable } from 'node:stream';
import { targetOf } from './call.ts';
import { ApiError, ConnectionError } from './errors.ts';
import type { FilesCaller } from './files.ts';
import { exchangeStream } from './http-stream.ts';
import type { Watch } from './outage.ts';
import { isTransient } from './retry.ts';
import { signRequest } from './sign.ts';

export type StreamMessage = {
  id: string | undefined;
  /** `message` for those of the stream itself. */
  event: string;
  data: string;
};

/** Gives the bytes of one connection, resumed after `lastId`. */
export type OpenStream = (lastId: string | undefined) => Promise<AsyncIterable<Buffer | string>>;

/** The server says something every 15 s. */
const idleMs = 45_000;
const pauseMs = 1_000;
/** A restart takes seconds; after this the follower should hear that the server is gone. */
const maxOutageMs = 60_000;
const maxRefusalBytes = 64 * 1024;

export function streamOpener(caller: FilesCaller, path: string, signal?: AbortSignal): OpenStream {
  return async (lastId) => {
    const url = targetOf(caller.url, { path });
    const key = await caller.key();
    const stamp = { timeMs: caller.edge.nowMs(), nonce: caller.edge.nonce() };
    const headers = {
      Accept: 'text/event-stream',
      ...(lastId === undefined ? {} : { 'Last-Event-ID': lastId }),
      ...signRequest({ key, method: 'GET', path: url.pathname + url.search, body: undefined, ...stamp }),
    };
    const response = await exchangeStream({ method: 'GET', url, headers, ca: caller.ca, idleMs, signal });
    const { statusCode: status = 0 } = response;
    if (status === 200) return response;
    throw new ApiError({ status, text: await textOf(response) });
  };
}

/** Every message after `lastId`, through cuts and restarts of at most a minute, until the server says it is complete. */
export async function* followStream(
  { edge, signal, open, origin }: Watch & { open: OpenStream; origin: string },
  lastId?: string,
): AsyncGenerator<StreamMessage, void> {
  let id = lastId;
  let failingSinceMs: number | undefined;
  for (;;) {
    try {
      for await (const message of messagesOf(await open(id))) {
        failingSinceMs = undefined;
        if (message.id !== undefined) id = message.id;
        if (message.event === 'end' && isComplete(message.data)) return;
        yield message;
      }
    } catch (cause) {
      if (signal?.aborted) throw signal.reason;
      const error = cause instanceof ApiError ? cause : new ConnectionError(origin, cause);
      failingSinceMs ??= edge.nowMs();
      if (!isTransient(error) || edge.nowMs() - failingSinceMs >= maxOutageMs) throw error;
    }
    await edge.sleep(pauseMs, signal);
  }
}

function isComplete(data: string): boolean {
  return (JSON.parse(data) as { reason?: string }).reason === 'complete';
}

/** Fields of the messages, as https://html.spec.whatwg.org/multipage/server-sent-events.html has them. */
export async function* messagesOf(body: AsyncIterable<Buffer | string>): AsyncGenerator<StreamMessage, void> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const part of body) {
    rest += typeof part === 'string' ? part : decoder.decode(part, { stream: true });
    const blocks = rest.split('\n\n');
    rest = blocks.pop() ?? '';
    for (const block of blocks) {
      const message = messageOf(block);
      if (message !== null) yield message;
    }
  }
}

function messageOf(block: string): StreamMessage | null {
  const message: StreamMessage = { id: undefined, event: 'message', data: '' };
  const data: string[] = [];
  for (const line of block.split('\n')) {
    const at = line.indexOf(':');
    const value = line.slice(at + 1).replace(/^ /, '');
    const name = at < 0 ? line : line.slice(0, at);
    if (name === 'id') message.id = value;
    else if (name === 'event') message.event = value;
    else if (name === 'data') data.push(value);
  }
  return data.length === 0 ? null : { ...message, data: data.join('\n') };
}

async function textOf(response: Readable): Promise<string> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of response as AsyncIterable<Buffer>) {
    bytes += part.length;
    if (bytes > maxRefusalBytes) break;
    parts.push(part);
  }
  return Buffer.concat(parts).toString();
}
