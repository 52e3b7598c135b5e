// Deliveries as their account sees them: listed, made for a test, and sent again.
import type { DeliveryStatus } from '../protocol/webhook.ts';
import type { Sql } from './database.ts';
import { countRows, type ListQuery, type ListResult, orderAndPage, whereOf } from './list-sql.ts';

export interface DeliveryRecord {
  id: string;
  webhookId: string;
  eventId: number | null;
  kind: string;
  status: DeliveryStatus;
  attemptCount: number;
  nextAttemptAtMs: number;
  lastAttemptAtMs: number | null;
  responseStatus: number | null;
  responseExcerpt: string | null;
  error: string | null;
  createdAtMs: number;
}

interface DeliveryRow {
  id: string;
  webhook_id: string;
  event_id: number | null;
  kind: string;
  status: DeliveryStatus;
  attempt_count: number;
  next_attempt_at: number;
  last_attempt_at: number | null;
  response_status: number | null;
  response_excerpt: string | null;
  error: string | null;
  created_at: number;
}

const columns = `d.id, d.webhook_id, d.event_id, d.kind, d.status, d.attempt_count, d.next_attempt_at, d.last_attempt_at,
  d.response_status, d.response_excerpt, d.error, d.created_at`;

export async function listDeliveries(
  sql: Sql,
  query: ListQuery & { webhookId: string },
): Promise<ListResult<DeliveryRecord>> {
  const where = whereOf(query, { column: 'd.webhook_id', value: query.webhookId });
  const rows = await sql.query<DeliveryRow>(
    `select ${columns} from webhook_deliveries d where ${where.text} ${orderAndPage(query, 'd')}`,
    where.values,
  );
  const count = await countRows(sql, { tables: 'webhook_deliveries d', where, query, found: rows.length });
  return { items: rows.map(toDelivery), ...count };
}

/** Of no event. */
export async function createTestDelivery(
  sql: Sql,
  delivery: { id: string; webhookId: string; kind: string; body: string },
): Promise<DeliveryRecord> {
  const [row] = await sql.query<DeliveryRow>(
    `insert into webhook_deliveries as d (id, webhook_id, kind, body) values ($1, $2, $3, $4) returning ${columns}`,
    [delivery.id, delivery.webhookId, delivery.kind, delivery.body],
  );
  if (row === undefined) throw new Error('The delivery was not stored.');
  return toDelivery(row);
}

/** Due now, with a whole day before it; null: there is no such delivery. */
export async function redeliver(
  sql: Sql,
  { id, webhookId }: { id: string; webhookId: string },
): Promise<DeliveryRecord | null> {
  const [row] = await sql.query<DeliveryRow>(
    `update webhook_deliveries d set status = 'pending', next_attempt_at = flotilla_now(), first_attempt_at = null
     where d.id = $1 and d.webhook_id = $2 returning ${columns}`,
    [id, webhookId],
  );
  return row === undefined ? null : toDelivery(row);
}

export async function dropDeliveries(sql: Sql, days: number): Promise<void> {
  await sql.query(
    "delete from webhook_deliveries where created_at < flotilla_now() - $1 * interval '1 day'",
    [days],
  );
}

function toDelivery(row: DeliveryRow): DeliveryRecord {
  return {
    id: row.id,
    webhookId: row.webhook_id,
    eventId: row.event_id,
    kind: row.kind,
    status: row.status,
    attemptCount: row.attempt_count,
    nextAttemptAtMs: row.next_attempt_at,
    lastAttemptAtMs: row.last_attempt_at,
    responseStatus: row.response_status,
    responseExcerpt: row.response_excerpt,
    error: row.error,
    createdAtMs: row.created_at,
  };
}
