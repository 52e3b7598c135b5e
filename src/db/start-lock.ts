// Replicas that start at the same moment make what is missing one after the other.
import type { Database, Sql } from './database.ts';

/** Apart from the migrations' own lock. */
const lockKey = 7_053_202;

/** `work` in a transaction that no other replica's overlaps: what it finds missing, nobody else is making. */
export function oneAtATime<T>(database: Database, work: (sql: Sql) => Promise<T>): Promise<T> {
  return database.transaction(async (sql) => {
    await sql.query('select pg_advisory_xact_lock($1)', [lockKey]);
    return work(sql);
  });
}
