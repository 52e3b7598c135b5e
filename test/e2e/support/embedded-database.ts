// The embedded PostgreSQL of a place, asked and changed past its server.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';

/** Moves what `flotilla_now()` answers forward for good. */
export async function moveClock(dataDirectory: string, seconds: number): Promise<void> {
  await askDatabase(
    dataDirectory,
    `create or replace function flotilla_now() returns timestamptz language sql stable parallel safe
      as 'select statement_timestamp() + interval ''${seconds} seconds'''`,
  );
}

/** Asks past the server. */
export async function askDatabase<Row>(dataDirectory: string, statement: string): Promise<Row[]> {
  const client = new pg.Client({
    ...connectionOf(join(dataDirectory, 'pg')),
    connectionTimeoutMillis: 5_000,
  });
  client.on('error', () => {});
  await client.connect();
  try {
    return (await client.query(statement)).rows as Row[];
  } finally {
    await client.end().catch(() => {});
  }
}

/** Port and socket folder are the fourth and fifth line of postmaster.pid (PostgreSQL's miscadmin.h). */
function connectionOf(pgFolder: string) {
  const major = readdirSync(pgFolder).find((name) => /^\d+$/.test(name));
  assert.ok(major, `a PostgreSQL in ${pgFolder}`);
  const [, , , port, host = ''] = readFileSync(join(pgFolder, major, 'postmaster.pid'), 'utf8').split('\n');
  const password = readFileSync(join(pgFolder, `${major}.password`), 'utf8').trim();
  return { host, port: Number(port), user: 'flotilla', password, database: 'flotilla' };
}
