// Hints between replicas: NOTIFY on one channel, gathered over a few milliseconds; losing one costs time, never truth.
import type pg from 'pg';
import type { Database } from './database.ts';

export type Hint =
  /** A job became PENDING, or capacity came back: the scheduler should look. */
  | { kind: 'schedule' }
  /** What is wanted of a node's runs changed. */
  | { kind: 'node'; nodeId: string }
  /** A job or its run changed: whoever waits for it should look. */
  | { kind: 'job'; jobId: string }
  /** Public ports opened or closed: the gateways should look. */
  | { kind: 'ports' }
  /** Whoever holds the node's control connection asks its agent to dial `url` with the ticket, `count` times. */
  | { kind: 'dial'; nodeId: string; url: string; ticket: string; count: number }
  /** A key was revoked or changed: cached copies are void. */
  | { kind: 'key'; publicKey: string };

export interface Hints {
  /** Tells listeners here at once, and other replicas within `gatherMs`. */
  publish(hint: Hint): void;
  subscribe(listener: (hint: Hint) => void): () => void;
  close(): Promise<void>;
}

const channel = 'flotilla';
/** Every NOTIFY takes a lock over all commits, so they go gathered. */
const gatherMs = 10;
/** PostgreSQL refuses payloads of 8000 bytes and more. */
const payloadBytes = 7_500;
const reconnectMs = 500;

export function createHints(
  database: Database,
  options: { replicaId: string; onError: (error: unknown) => void },
): Hints {
  const listeners = new Set<(hint: Hint) => void>();
  const waiting = new Map<string, Hint>();
  let timer: NodeJS.Timeout | undefined;
  let client: pg.Client | undefined;
  let isClosed = false;

  const tell = (hint: Hint) => {
    for (const listener of listeners) listener(hint);
  };

  async function flush() {
    timer = undefined;
    const hints = [...waiting.values()];
    waiting.clear();
    for (const payload of payloads(options.replicaId, hints)) {
      await database.query('select pg_notify($1, $2)', [channel, payload]).catch(options.onError);
    }
  }

  async function listen(): Promise<void> {
    if (isClosed) return;
    try {
      client = await database.dedicatedClient();
      client.on('notification', ({ payload }) => receive(payload ?? ''));
      client.once('end', () => relisten());
      await client.query(`listen ${channel}`);
    } catch (error) {
      options.onError(error);
      relisten();
    }
  }

  function relisten() {
    client = undefined;
    if (!isClosed) setTimeout(listen, reconnectMs).unref();
  }

  function receive(payload: string) {
    const message = JSON.parse(payload) as { from: string; hints: Hint[] };
    if (message.from === options.replicaId) return;
    for (const hint of message.hints) tell(hint);
  }

  void listen();
  return {
    publish(hint) {
      tell(hint);
      waiting.set(JSON.stringify(hint), hint);
      timer ??= setTimeout(flush, gatherMs);
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    async close() {
      isClosed = true;
      clearTimeout(timer);
      await client?.end().catch(options.onError);
    },
  };
}

function payloads(from: string, hints: Hint[]): string[] {
  const payload = JSON.stringify({ from, hints });
  if (payload.length < payloadBytes || hints.length <= 1) return [payload];
  const half = Math.ceil(hints.length / 2);
  return [...payloads(from, hints.slice(0, half)), ...payloads(from, hints.slice(half))];
}
