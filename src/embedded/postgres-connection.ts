// Asks a PostgreSQL whether it is ready, with a real login, and makes the database.

import { Client } from 'pg';

export type PostgresConnection = {
  /** The folder of the unix socket. */
  host: string;
  port: number;
  user: string;
  password: string;
  database: string;
};

/** `busy`: it starts, recovers or shuts down; `absent`: nobody listens yet; `refused`: it is not ours or is broken. */
export type Readiness = { kind: 'ready' | 'busy' | 'absent' } | { kind: 'refused'; error: Error };

/** Logs in once; creates the database when PostgreSQL is ready and it is missing. */
export async function askReadiness(connection: PostgresConnection): Promise<Readiness> {
  try {
    await query(connection, 'select 1');
    return { kind: 'ready' };
  } catch (error) {
    if (codeOf(error) !== '3D000') return classify(error);
    return createDatabase(connection);
  }
}

async function createDatabase(connection: PostgresConnection): Promise<Readiness> {
  try {
    const name = connection.database.replaceAll('"', '""');
    await query({ ...connection, database: 'postgres' }, `create database "${name}"`);
    return { kind: 'ready' };
  } catch (error) {
    // 42P04, or 23505 when both ran at once: another starter created it.
    return ['42P04', '23505'].includes(codeOf(error)) ? { kind: 'ready' } : classify(error);
  }
}

async function query(connection: PostgresConnection, sql: string): Promise<void> {
  const client = new Client({ ...connection, connectionTimeoutMillis: 5_000, query_timeout: 30_000 });
  client.on('error', () => {}); // a server that dies between two steps; the pending step rejects too
  try {
    await client.connect();
    await client.query(sql);
  } finally {
    await client.end().catch(() => {});
  }
}

// 57P03 cannot_connect_now, 57P01 admin_shutdown, 57P02 crash_shutdown, 53300 too_many_connections
const passingCodes = ['57P03', '57P01', '57P02', '53300', 'ECONNRESET', 'EPIPE', 'ETIMEDOUT'];

function classify(error: unknown): Readiness {
  const code = codeOf(error);
  if (code === 'ENOENT' || code === 'ECONNREFUSED') return { kind: 'absent' };
  const cause = error instanceof Error ? error : new Error(String(error));
  // pg gives no code to a connection that ends or stalls before login.
  const isPassing = passingCodes.includes(code) || /terminated|timeout/i.test(cause.message);
  return isPassing ? { kind: 'busy' } : { kind: 'refused', error: cause };
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}
