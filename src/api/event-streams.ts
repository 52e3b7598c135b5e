// The streams of this replica: how many an account may hold, and their end when a key is revoked or the server stops.
import type { FastifyReply } from 'fastify';
import type { Hints } from '../db/hints.ts';
import type { Caller } from './auth.ts';
import { ApiError } from './errors.ts';
import { EventStream } from './event-stream.ts';
import type { Traffic } from './traffic.ts';

/** Of one account on one replica; each costs a connection and some memory. */
export const defaultMaxStreams = 2_000;
const retryAfterSeconds = 10;

export class EventStreams {
  readonly #options: { traffic: Traffic; now: () => number; maxPerAccount: number };
  readonly #open = new Map<string, Map<EventStream, Caller>>();

  constructor(options: { hints: Hints; traffic: Traffic; now: () => number; maxPerAccount: number }) {
    this.#options = options;
    options.hints.subscribe((hint) => {
      if (hint.kind === 'key') this.#endOf(({ key }) => key.publicKey === hint.publicKey);
      if (hint.kind === 'session') this.#endOf(({ session }) => session?.id === hint.sessionId);
    });
    options.traffic.stopping.addEventListener('abort', () => {
      for (const stream of this.#all()) stream.end('stopping');
    });
  }

  /** Takes the answer over; 429 when the account holds too many. */
  open(reply: FastifyReply, caller: Caller): EventStream {
    const { accountId, key, session } = caller;
    const { traffic, now, maxPerAccount } = this.#options;
    const own = this.#open.get(accountId) ?? new Map<EventStream, Caller>();
    if (own.size >= maxPerAccount) {
      throw new ApiError(
        'rate_limited',
        `This account holds ${own.size} streams on this server, and no more are allowed: close some, or share one.`,
        { retryAfterSeconds },
      );
    }
    if (traffic.stopping.aborted)
      throw new ApiError('unavailable', 'This server stops; connect again.', { retryAfterSeconds: 1 });
    reply.hijack();
    const stream = new EventStream(reply.raw, {
      headers: { 'x-request-id': reply.request.id },
      isStillAllowed: () =>
        (key.expiresAtMs === null || key.expiresAtMs > now()) &&
        (session === null || session.expiresAtMs > now()),
    });
    own.set(stream, caller);
    this.#open.set(accountId, own);
    const forget = () => {
      own.delete(stream);
      if (own.size === 0 && this.#open.get(accountId) === own) this.#open.delete(accountId);
    };
    if (stream.closed.aborted) forget();
    else stream.closed.addEventListener('abort', forget, { once: true });
    return stream;
  }

  #endOf(isOver: (caller: Caller) => boolean): void {
    for (const own of this.#open.values())
      for (const [stream, caller] of own) if (isOver(caller)) stream.end('key_ended');
  }

  #all(): EventStream[] {
    return [...this.#open.values()].flatMap((own) => [...own.keys()]);
  }
}
