// Retention: partitions are made ahead and dropped when their time is over.
import { dropBudgetStates } from './budgets.ts';
import type { Database, Sql } from './database.ts';
import { keepSamples } from './hardware-samples.ts';
import { dropNodeEvents } from './node-events.ts';
import { dropOldNonces } from './nonces.ts';
import { judgeNodes } from './reputation.ts';
import { dropOldSessions } from './sessions.ts';
import { oneAtATime } from './start-lock.ts';
import { dropDeliveries } from './webhook-deliveries.ts';

export interface Retention {
  logDays: number;
  eventDays: number;
  /** Averages of what nodes and runs used; samples themselves are kept for an hour. */
  averageDays: number;
}

export const defaultRetention: Retention = { logDays: 30, eventDays: 90, averageDays: 30 };

/** Keys freed per round; more would hold their rows' locks for long. */
const idempotencyBatch = 1_000;

/** Makes the coming days' partitions; needed before the first event or log line. */
export async function ensurePartitions(database: Database): Promise<void> {
  await oneAtATime(database, (sql) => sql.query('select flotilla_ensure_partitions(flotilla_now())'));
}

/** One round of keeping house; safe to run from every replica. */
export async function enforceRetention(sql: Database, retention: Retention): Promise<void> {
  await ensurePartitions(sql);
  await dropOldNonces(sql);
  await dropOldSessions(sql);
  await dropBefore(sql, 'run_logs', retention.logDays);
  await dropBefore(sql, 'job_events', retention.eventDays);
  await dropNodeEvents(sql, retention.eventDays);
  await dropBudgetStates(sql);
  await dropDeliveries(sql, retention.eventDays);
  await keepSamples(sql, retention.averageDays);
  await judgeNodes(sql);
  await sql.query(
    `update jobs set idempotency_key = null, idempotency_hash = null where id in (
       select id from jobs where idempotency_key is not null and created_at < flotilla_now() - interval '24 hours'
       order by id limit $1 for update skip locked)`,
    [idempotencyBatch],
  );
}

async function dropBefore(sql: Sql, parent: string, days: number): Promise<void> {
  await sql.query(`select flotilla_drop_old_partitions($1, flotilla_now() - $2 * interval '1 day')`, [
    parent,
    days,
  ]);
}
