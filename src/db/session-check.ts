// Proves at the start that sessions are ours alone: what is sent through the pool is heard by a connection that listens.
import { randomUUID } from 'node:crypto';
import { type Database, DatabaseUnavailable } from './database.ts';

/** A pooler shares the sessions, or the direct connection leads elsewhere; the message says what to set. */
export class SessionsShared extends Error {
  override name = 'SessionsShared';
}

const channel = 'flotilla_check';
/** Far longer than a notification takes, since a slow database must not pass for a pooler. */
const defaultPatienceMs = 5_000;

/** Throws SessionsShared when LISTEN on the connection meant for it hears nothing of what the pool sends. */
export async function checkSessions(
  database: Database,
  options: { hasDirectConnection: boolean; patienceMs?: number },
): Promise<void> {
  if (await isHeard(database, options.patienceMs ?? defaultPatienceMs)) return;
  throw new SessionsShared(options.hasDirectConnection ? wrongDirectUrl : noDirectUrl);
}

const noDirectUrl =
  'DATABASE_URL leads through a connection pooler that shares sessions between clients, such as PgBouncer with ' +
  'pool_mode=transaction. Set DATABASE_DIRECT_URL as well: the URL of the same database past the pooler.';
const wrongDirectUrl =
  'What is sent through DATABASE_URL does not arrive at DATABASE_DIRECT_URL. It must name the same database on the ' +
  'same PostgreSQL server, past any pooler.';

async function isHeard(database: Database, patienceMs: number): Promise<boolean> {
  const listener = await database.dedicatedClient();
  const word = randomUUID();
  const heard = new Promise<boolean>((resolve, reject) => {
    listener.on('notification', ({ payload }) => {
      if (payload === word) resolve(true);
    });
    // A database that goes away meanwhile proves nothing about a pooler.
    listener.once('end', () => reject(new DatabaseUnavailable('The database connection was lost.')));
  });
  heard.catch(() => {});
  let timer: NodeJS.Timeout | undefined;
  try {
    await listener.query(`listen ${channel}`).catch((cause) => {
      throw new DatabaseUnavailable('The database connection was lost.', { cause });
    });
    await database.query('select pg_notify($1, $2)', [channel, word]);
    const late = new Promise<boolean>((resolve) => {
      timer = setTimeout(() => resolve(false), patienceMs);
    });
    return await Promise.race([heard, late]);
  } finally {
    clearTimeout(timer);
    await listener.end().catch(() => {});
  }
}
