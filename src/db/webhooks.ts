// Webhooks of accounts: where their events are delivered, and the sealed secret that signs them.
import { formatPosition } from '../domain/event-position.ts';
import type { Sql } from './database.ts';
import { currentEventPosition } from './events.ts';
import { countRows, type ListQuery, type ListResult, orderAndPage, whereOf } from './list-sql.ts';

export interface WebhookRecord {
  id: string;
  accountId: string;
  name: string;
  url: string;
  kinds: string[];
  isEnabled: boolean;
  disabledReason: string | null;
  failingSinceMs: number | null;
  createdAtMs: number;
  updatedAtMs: number;
}

interface WebhookRow {
  id: string;
  account_id: string;
  name: string;
  url: string;
  kinds: string[];
  is_enabled: boolean;
  disabled_reason: string | null;
  failing_since: number | null;
  created_at: number;
  updated_at: number;
}

export interface NewWebhook {
  id: string;
  accountId: string;
  name: string;
  url: string;
  kinds: readonly string[];
  sealedSecret: Buffer;
}

/** What the vault binds a webhook's secret to. */
export function webhookOwner(webhookId: string): string {
  return `webhook:${webhookId}`;
}

/** null: the account has `limit` webhooks already. */
export async function createWebhook(
  sql: Sql,
  webhook: NewWebhook,
  limit: number,
): Promise<WebhookRecord | null> {
  // Two at once would both find room.
  await sql.query('select from accounts where id = $1 for update', [webhook.accountId]);
  const position = formatPosition(await currentEventPosition(sql));
  const [row] = await sql.query<WebhookRow>(
    `insert into webhooks (id, account_id, name, url, kinds, secret_sealed, position)
     select $1, $2, $3, $4, $5, $6, $7 where (select count(*) from webhooks where account_id = $2) < $8 returning *`,
    [
      ...[webhook.id, webhook.accountId, webhook.name, webhook.url, webhook.kinds, webhook.sealedSecret],
      ...[position, limit],
    ],
  );
  return row === undefined ? null : toWebhook(row);
}

export interface WebhookOf {
  id: string;
  accountId: string;
}

export async function getWebhook(sql: Sql, { id, accountId }: WebhookOf): Promise<WebhookRecord | null> {
  const [row] = await sql.query<WebhookRow>('select * from webhooks where id = $1 and account_id = $2', [
    id,
    accountId,
  ]);
  return row === undefined ? null : toWebhook(row);
}

export async function listWebhooks(
  sql: Sql,
  query: ListQuery & { accountId: string },
): Promise<ListResult<WebhookRecord>> {
  const where = whereOf(query, { column: 'w.account_id', value: query.accountId });
  const rows = await sql.query<WebhookRow>(
    `select w.* from webhooks w where ${where.text} ${orderAndPage(query, 'w')}`,
    where.values,
  );
  const count = await countRows(sql, { tables: 'webhooks w', where, query, found: rows.length });
  return { items: rows.map(toWebhook), ...count };
}

/** What is undefined stays. One that is enabled again begins with now; what still waits gets its whole time anew. */
export async function updateWebhook(
  sql: Sql,
  { id, accountId }: WebhookOf,
  change: Partial<Pick<NewWebhook, 'name' | 'url' | 'kinds' | 'sealedSecret'>> & { isEnabled?: boolean },
): Promise<WebhookRecord | null> {
  const position = formatPosition(await currentEventPosition(sql));
  const [row] = await sql.query<WebhookRow>(
    `update webhooks w set name = coalesce($3, name), url = coalesce($4, url), kinds = coalesce($5, kinds),
       secret_sealed = coalesce($6, secret_sealed), is_enabled = coalesce($7, is_enabled),
       disabled_reason = case $7 when true then null when false then 'disabled by its account' else disabled_reason end,
       failing_since = case when $7 then null else failing_since end,
       position = case when $7 and not is_enabled then $8 else position end, position_at = flotilla_now(),
       updated_at = flotilla_now()
     where id = $1 and account_id = $2 returning *`,
    [
      ...[id, accountId, change.name ?? null, change.url ?? null, change.kinds ?? null],
      ...[change.sealedSecret ?? null, change.isEnabled ?? null, position],
    ],
  );
  if (row === undefined) return null;
  if (change.isEnabled === true)
    await sql.query(
      `update webhook_deliveries set first_attempt_at = null, next_attempt_at = flotilla_now()
       where webhook_id = $1 and status = 'pending'`,
      [id],
    );
  return toWebhook(row);
}

/** With its deliveries; the webhook as it was, null: there is none. */
export async function deleteWebhook(sql: Sql, { id, accountId }: WebhookOf): Promise<WebhookRecord | null> {
  const [row] = await sql.query<WebhookRow>(
    'delete from webhooks where id = $1 and account_id = $2 returning *',
    [id, accountId],
  );
  return row === undefined ? null : toWebhook(row);
}

function toWebhook(row: WebhookRow): WebhookRecord {
  return {
    id: row.id,
    accountId: row.account_id,
    name: row.name,
    url: row.url,
    kinds: row.kinds,
    isEnabled: row.is_enabled,
    disabledReason: row.disabled_reason,
    failingSinceMs: row.failing_since,
    createdAtMs: row.created_at,
    updatedAtMs: row.updated_at,
  };
}
