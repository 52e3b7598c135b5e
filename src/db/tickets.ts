// One-time tickets: kept as hashes, taken once, gone when their time is up.
import { createHash } from 'node:crypto';
import type { Sql } from './database.ts';

export interface Ticket<T> {
  accountId: string;
  runId: string;
  request: T;
  actor: Record<string, unknown>;
}

/** Answers when the ticket expires, epoch milliseconds. */
export async function createTicket<T>(
  sql: Sql,
  options: Ticket<T> & { secret: string; lifeMs: number },
): Promise<number> {
  await sql.query('delete from tickets where expires_at < flotilla_now()');
  const [row] = await sql.query<{ expires_at: number }>(
    `insert into tickets (hash, account_id, run_id, request, actor, expires_at)
     values ($1, $2, $3, $4, $5, flotilla_now() + $6 * interval '1 millisecond') returning expires_at`,
    [
      hashOf(options.secret),
      options.accountId,
      options.runId,
      JSON.stringify(options.request),
      JSON.stringify(options.actor),
      options.lifeMs,
    ],
  );
  if (row === undefined) throw new Error('The ticket was not stored.');
  return row.expires_at;
}

/** The ticket, the first time it is shown and before it expires. */
export async function takeTicket<T>(sql: Sql, secret: string): Promise<Ticket<T> | null> {
  const [row] = await sql.query<{
    account_id: string;
    run_id: string;
    request: T;
    actor: Record<string, unknown>;
    is_valid: boolean;
  }>(
    'delete from tickets where hash = $1 returning account_id, run_id, request, actor, expires_at >= flotilla_now() as is_valid',
    [hashOf(secret)],
  );
  if (row === undefined || !row.is_valid) return null;
  return { accountId: row.account_id, runId: row.run_id, request: row.request, actor: row.actor };
}

function hashOf(secret: string): Buffer {
  return createHash('sha256').update(secret).digest();
}
