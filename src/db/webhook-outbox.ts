// The outbox of webhooks: events become deliveries once, and each attempt is claimed, made and settled by who leads.
import { formatPosition, parsePosition } from '../domain/event-position.ts';
import { eventView } from '../protocol/event-view.ts';
import type { Database, Sql } from './database.ts';
import { type EventBatch, readEvents, recordAccountEvent } from './events.ts';
import type { Leadership } from './leadership.ts';

const batchSize = 500;
/** A webhook without events moves its place on this often, so that reading stays within few partitions. */
const movePositionMs = 60_000;
/** Longer than an attempt lasts: one that was cut off by a crash is made again after it. */
const claimMs = 30_000;

interface ReadingRow {
  id: string;
  account_id: string;
  kinds: string[];
  position: string;
  is_old: boolean;
}

/**
 * Turns events into deliveries. Place and deliveries move in one transaction, under the webhook's lock: nothing is left
 * out or made twice, even by two who believe that they lead. Answers whether there is more.
 */
export async function fillOutbox(database: Database): Promise<boolean> {
  return database.transaction(async (sql) => {
    const hooks = await sql.query<ReadingRow>(
      {
        name: 'lock_webhooks',
        text: `select id, account_id, kinds, position,
            position_at < flotilla_now() - $1 * interval '1 millisecond' as is_old
          from webhooks where is_enabled order by id for update skip locked`,
      },
      [movePositionMs],
    );
    if (hooks.length === 0) return false;
    const readers = hooks.map((hook) => ({ accountId: hook.account_id, position: positionOf(hook) }));
    const batches = await readEvents(sql, readers, batchSize);
    const read = hooks.flatMap((hook, at) => {
      const batch = batches[at];
      const hasMoved = batch !== undefined && (batch.events.length > 0 || hook.is_old);
      return hasMoved ? [{ hook, batch }] : [];
    });
    await writeDeliveries(sql, read);
    return batches.some((batch) => batch.next.within !== null);
  });
}

function positionOf({ id, position }: ReadingRow) {
  const parsed = parsePosition(position);
  if (parsed === null) throw new Error(`The webhook ${id} has a place that is none: ${position}`);
  return parsed;
}

async function writeDeliveries(sql: Sql, read: { hook: ReadingRow; batch: EventBatch }[]): Promise<void> {
  if (read.length === 0) return;
  const deliveries = read.flatMap(({ hook, batch }) =>
    batch.events
      .filter(({ kind }) => hook.kinds.length === 0 || hook.kinds.includes(kind))
      .map((event) => ({
        webhook_id: hook.id,
        event_id: event.id,
        kind: event.kind,
        body: JSON.stringify(eventView(event)),
      })),
  );
  const places = read.map(({ hook, batch }) => ({ id: hook.id, position: formatPosition(batch.next) }));
  await sql.query(
    {
      name: 'write_deliveries',
      text: `with moved as (
          update webhooks w set position = p.position, position_at = flotilla_now()
          from json_to_recordset($2::json) as p(id uuid, position text) where w.id = p.id
        )
        insert into webhook_deliveries (webhook_id, event_id, kind, body)
        select d.webhook_id, d.event_id, d.kind, d.body
        from json_to_recordset($1::json) as d(webhook_id uuid, event_id bigint, kind text, body text)`,
    },
    [JSON.stringify(deliveries), JSON.stringify(places)],
  );
}

export interface ClaimedDelivery {
  id: string;
  webhookId: string;
  accountId: string;
  url: string;
  sealedSecret: Buffer;
  kind: string;
  body: string;
  attemptCount: number;
  /** Since the first attempt. */
  sinceFirstMs: number;
}

/**
 * Due deliveries, at most `limit`, and for each webhook no more than `perWebhook` with those in `busy`; a webhook that
 * fails gets one at a time, so that a dead receiver holds up nobody.
 */
export async function claimDeliveries(
  sql: Sql,
  leadership: Leadership,
  { busy, perWebhook, limit }: { busy: ReadonlyMap<string, number>; perWebhook: number; limit: number },
): Promise<ClaimedDelivery[]> {
  return sql.query<ClaimedDelivery>(
    {
      name: 'claim_deliveries',
      text: `with due as materialized (
          select x.id, w.account_id, w.url, w.secret_sealed
          from webhooks w
            left join json_to_recordset($4::json) as b(webhook_id uuid, count integer) on b.webhook_id = w.id
            cross join lateral (
              select d.id, d.next_attempt_at from webhook_deliveries d
              where d.webhook_id = w.id and d.status = 'pending' and d.next_attempt_at <= flotilla_now()
              order by d.next_attempt_at
              limit greatest(0, case when w.failing_since is null then $5::integer else 1 end - coalesce(b.count, 0))
              for update skip locked
            ) x
          where w.is_enabled and (select flotilla_leads($1, $2, $3))
          order by x.next_attempt_at limit $6
        )
        update webhook_deliveries d set next_attempt_at = flotilla_now() + $7 * interval '1 millisecond',
          first_attempt_at = coalesce(d.first_attempt_at, flotilla_now()), last_attempt_at = flotilla_now(),
          attempt_count = d.attempt_count + 1
        from due where d.id = due.id
        returning d.id, d.webhook_id as "webhookId", due.account_id as "accountId", due.url,
          due.secret_sealed as "sealedSecret", d.kind, d.body, d.attempt_count as "attemptCount",
          (extract(epoch from flotilla_now() - d.first_attempt_at) * 1000)::bigint as "sinceFirstMs"`,
    },
    [
      ...[leadership.name, leadership.holder, leadership.epoch],
      JSON.stringify([...busy].map(([webhookId, count]) => ({ webhook_id: webhookId, count }))),
      ...[perWebhook, limit, claimMs],
    ],
  );
}

export interface AttemptResult {
  responseStatus: number | null;
  responseExcerpt: string | null;
  /** null: delivered. */
  error: string | null;
}

export async function settleDelivered(
  sql: Sql,
  delivery: ClaimedDelivery,
  result: AttemptResult,
): Promise<void> {
  await sql.query(
    {
      name: 'settle_delivered',
      text: `with healthy as (update webhooks set failing_since = null where id = $2 and failing_since is not null)
        update webhook_deliveries set status = 'delivered', response_status = $3, response_excerpt = $4, error = null
        where id = $1`,
    },
    [delivery.id, delivery.webhookId, result.responseStatus, result.responseExcerpt],
  );
}

/**
 * `pauseMs` null: given up. A webhook that delivered nothing for the whole time is disabled then, with an event.
 * Answers whether it was.
 */
export async function settleFailed(
  database: Database,
  delivery: ClaimedDelivery,
  {
    result,
    pauseMs,
    giveUpAfterMs,
  }: { result: AttemptResult; pauseMs: number | null; giveUpAfterMs: number },
): Promise<boolean> {
  return database.transaction(async (sql) => {
    const [hook] = await sql.query<{ is_dead: boolean }>(
      `update webhooks set failing_since = coalesce(failing_since, flotilla_now()) where id = $1 and is_enabled
       returning failing_since <= flotilla_now() - $2 * interval '1 millisecond' as is_dead`,
      [delivery.webhookId, giveUpAfterMs],
    );
    await sql.query(
      `update webhook_deliveries set status = case when $2::double precision is null then 'failed' else 'pending' end,
         next_attempt_at = flotilla_now() + coalesce($2, 0) * interval '1 millisecond',
         response_status = $3, response_excerpt = $4, error = $5
       where id = $1`,
      [delivery.id, pauseMs, result.responseStatus, result.responseExcerpt, result.error],
    );
    if (pauseMs !== null || hook?.is_dead !== true) return false;
    await disable(sql, delivery, result);
    return true;
  });
}

async function disable(
  sql: Sql,
  { webhookId, accountId, url }: ClaimedDelivery,
  { error }: AttemptResult,
): Promise<void> {
  const reason = `Nothing could be delivered for a day; the last error: ${error}`;
  await sql.query(
    'update webhooks set is_enabled = false, disabled_reason = $2, updated_at = flotilla_now() where id = $1',
    [webhookId, reason],
  );
  await recordAccountEvent(sql, {
    accountId,
    kind: 'webhook_disabled',
    actor: { kind: 'webhooks' },
    detail: { webhook_uuid: webhookId, url, reason },
  });
}
