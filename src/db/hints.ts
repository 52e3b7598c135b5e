// Hints between replicas: NOTIFY on one channel, gathered over a few milliseconds; losing one costs time, never truth.
import type pg from 'pg';
import type { Database, Sql } from './database.ts';

export type Hint =
  /** A job became PENDING, or capacity came back: the scheduler should look. */
  | { kind: 'schedule' }
  /** What is wanted of a node's runs changed. */
  | { kind: 'node'; nodeId: string }
  /** A job or its run changed: whoever waits for it should look. */
  | { kind: 'job'; jobId: string }
  /** Something happened to an account that is no change of a job: whoever follows its events should look. */
  | { kind: 'event' }
  /** Somebody follows the log of this run: hubs tell of its new bytes for a while. */
  | { kind: 'log_wanted'; runId: string }
  | { kind: 'log'; runId: string }
  /** Public ports opened or closed: the gateways should look. */
  | { kind: 'ports' }
  /** Whoever holds the node's control connection asks its agent to dial `url` with the ticket, `count` times. */
  | { kind: 'dial'; nodeId: string; url: string; ticket: string; count: number }
  /** A key was revoked or changed: cached copies are void. */
  | { kind: 'key'; publicKey: string }
  /** A session ended: cached copies are void. */
  | { kind: 'session'; sessionId: string }
  /** The leader has looked at every job that the account submitted up to then, by the database's time. */
  | { kind: 'seen'; accountId: string; toMs: number }
  /** Whoever leads answers with the place in line of a PENDING job. */
  | { kind: 'position_asked'; jobId: string }
  | { kind: 'position'; jobId: string; position: number | null }
  /** Of this replica alone: it was, or is, without a connection that listens. Hints were lost: look at everything. */
  | { kind: 'missed' };

const kindsWithEvents: ReadonlySet<Hint['kind']> = new Set(['schedule', 'job', 'event', 'missed']);

/** Whether rows of `job_events` may be new: whoever follows them should look. */
export function tellsOfEvents({ kind }: Hint): boolean {
  return kindsWithEvents.has(kind);
}

export interface Hints {
  /** Tells listeners here at once, and other replicas with the next NOTIFY, `gatherMs` after the last one. */
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
/** A connection whose peer is gone without a word hears nothing, and does not end by itself for hours. */
const pingMs = 10_000;
const pingPatienceMs = 5_000;

/** A hint that goes with the commit of this transaction, to every replica: no moment later, and never without it. */
export async function publishWith(sql: Sql, hint: Hint): Promise<void> {
  await sql.query('select pg_notify($1, $2)', [channel, JSON.stringify({ from: '', hints: [hint] })]);
}

export function createHints(
  database: Database,
  options: { replicaId: string; onError: (error: unknown) => void },
): Hints {
  const listeners = new Set<(hint: Hint) => void>();
  const waiting = new Map<string, Hint>();
  let timer: NodeJS.Timeout | undefined;
  let flushedAtMs = Number.NEGATIVE_INFINITY;
  let client: pg.Client | undefined;
  let isClosed = false;

  const tell = (hint: Hint) => {
    for (const listener of listeners) listener(hint);
  };

  async function flush() {
    timer = undefined;
    flushedAtMs = performance.now();
    const hints = [...waiting.values()];
    waiting.clear();
    for (const payload of payloads(options.replicaId, hints)) {
      await database.query('select pg_notify($1, $2)', [channel, payload]).catch(options.onError);
    }
  }

  async function listen(): Promise<void> {
    while (!isClosed) {
      await listenUntilLost().catch(options.onError);
      if (isClosed) return;
      tell({ kind: 'missed' });
      await new Promise((resolve) => setTimeout(resolve, reconnectMs).unref());
    }
  }

  async function listenUntilLost(): Promise<void> {
    const own = await database.dedicatedClient();
    client = own;
    const ended = new Promise<void>((resolve) => own.once('end', () => resolve()));
    own.on('notification', ({ payload }) => receive(payload ?? ''));
    const pinger = setInterval(() => void ping(own), pingMs);
    try {
      if (isClosed) return;
      await own.query(`listen ${channel}`);
      tell({ kind: 'missed' });
      await ended;
    } finally {
      clearInterval(pinger);
      client = undefined;
      await own.end().catch(() => {});
    }
  }

  function receive(payload: string) {
    const message = parse(payload);
    if (message === null || message.from === options.replicaId) return;
    for (const hint of message.hints) tell(hint);
  }

  void listen();
  return {
    publish(hint) {
      tell(hint);
      waiting.set(JSON.stringify(hint), hint);
      timer ??= setTimeout(flush, Math.max(0, flushedAtMs + gatherMs - performance.now()));
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    async close() {
      isClosed = true;
      clearTimeout(timer);
      if (waiting.size > 0) await flush();
      await client?.end().catch(options.onError);
    },
  };
}

async function ping(client: pg.Client): Promise<void> {
  const query = { text: 'select 1', query_timeout: pingPatienceMs };
  await client.query(query).catch(() => client.end().catch(() => {}));
}

/** Null for what another program sent on the channel. */
function parse(payload: string): { from: string; hints: Hint[] } | null {
  try {
    const message = JSON.parse(payload) as { from: string; hints: Hint[] };
    return Array.isArray(message.hints) ? message : null;
  } catch {
    return null;
  }
}

function payloads(from: string, hints: Hint[]): string[] {
  const payload = JSON.stringify({ from, hints });
  if (payload.length < payloadBytes || hints.length <= 1) return [payload];
  const half = Math.ceil(hints.length / 2);
  return [...payloads(from, hints.slice(0, half)), ...payloads(from, hints.slice(half))];
}
