// API keys: who may sign requests, as what, from where and until when.
import type { KeyPreset, Permission } from '../protocol/api-key.ts';
import type { UserRole } from '../protocol/user.ts';
import type { Sql } from './database.ts';
import { countRows, type ListQuery, type ListResult, orderAndPage, whereOf } from './list-sql.ts';
import type { Vault } from './vault.ts';

export interface ApiKeyRecord {
  id: string;
  accountId: string;
  name: string;
  preset: KeyPreset;
  permissions: readonly Permission[];
  publicKey: string;
  nodeId: string | null;
  /** null: the key is the account's own. */
  userId: string | null;
  allowedIps: readonly string[];
  /** null: the cluster's. */
  rateLimitPerSecond: number | null;
  expiresAtMs: number | null;
  revokedAtMs: number | null;
  /** While it lies ahead, the secret before the last rotation works too. */
  previousSecretUntilMs: number | null;
  createdAtMs: number;
}

/** A key with its secrets in clear: for verifying signatures only. */
export interface SigningKey extends ApiKeyRecord {
  secret: string;
  previousSecret: string | null;
  /** Of the user it belongs to. */
  userRole: UserRole | null;
}

export interface NewApiKey {
  id: string;
  accountId: string;
  name: string;
  preset: KeyPreset;
  permissions: readonly Permission[];
  publicKey: string;
  secret: string;
  nodeId: string | null;
  userId?: string | null;
  allowedIps: readonly string[];
  rateLimitPerSecond?: number | null;
  expiresAtMs: number | null;
}

/** One key, of that account alone; `accountId` null: of any. */
export interface ApiKeyOf {
  id: string;
  accountId: string | null;
}

interface ApiKeyRow {
  id: string;
  account_id: string;
  name: string;
  preset: KeyPreset;
  permissions: Permission[];
  public_key: string;
  secret_sealed: Buffer;
  node_id: string | null;
  user_id: string | null;
  allowed_ips: string[];
  rate_limit_per_second: number | null;
  expires_at: number | null;
  revoked_at: number | null;
  previous_secret_sealed: Buffer | null;
  previous_secret_until: number | null;
  created_at: number;
}

export async function createApiKey(sql: Sql, vault: Vault, key: NewApiKey): Promise<ApiKeyRecord> {
  const sealed = vault.seal(key.secret, ownerOf(key.accountId, key.id));
  const [row] = await sql.query<ApiKeyRow>(
    `insert into api_keys (id, account_id, name, preset, permissions, public_key, secret_sealed, node_id, allowed_ips, expires_at,
       user_id, rate_limit_per_second)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, to_timestamp($10::double precision / 1000), $11, $12) returning *`,
    [
      key.id,
      key.accountId,
      key.name,
      key.preset,
      key.permissions,
      key.publicKey,
      sealed,
      key.nodeId,
      key.allowedIps,
      key.expiresAtMs,
      key.userId ?? null,
      key.rateLimitPerSecond ?? null,
    ],
  );
  if (row === undefined) throw new Error('The key was not stored.');
  return toRecord(row);
}

export async function findSigningKey(sql: Sql, vault: Vault, publicKey: string): Promise<SigningKey | null> {
  const [row] = await sql.query<ApiKeyRow & { user_role: UserRole | null }>(
    {
      name: 'find_signing_key',
      text: `select k.*, u.role as user_role from api_keys k left join users u on u.id = k.user_id
        where k.public_key = $1`,
    },
    [publicKey],
  );
  if (row === undefined) return null;
  const owner = ownerOf(row.account_id, row.id);
  const { previous_secret_sealed: previous, user_role: userRole } = row;
  return {
    ...toRecord(row),
    secret: vault.open(row.secret_sealed, owner),
    previousSecret: previous === null ? null : vault.open(previous, owner),
    userRole,
  };
}

export async function getApiKey(sql: Sql, { id, accountId }: ApiKeyOf): Promise<ApiKeyRecord | null> {
  const [row] = await sql.query<ApiKeyRow>(
    'select * from api_keys where id = $1 and ($2::uuid is null or account_id = $2)',
    [id, accountId],
  );
  return row === undefined ? null : toRecord(row);
}

/** Locked until the transaction ends: what is decided of it holds. */
export async function lockApiKey(sql: Sql, { id, accountId }: ApiKeyOf): Promise<ApiKeyRecord | null> {
  const [row] = await sql.query<ApiKeyRow>(
    'select * from api_keys where id = $1 and ($2::uuid is null or account_id = $2) for update',
    [id, accountId],
  );
  return row === undefined ? null : toRecord(row);
}

export async function listApiKeys(
  sql: Sql,
  query: ListQuery & { accountId: string },
): Promise<ListResult<ApiKeyRecord>> {
  const where = whereOf(query, { column: 'k.account_id', value: query.accountId });
  const tables = 'api_keys k';
  const rows = await sql.query<ApiKeyRow>(
    `select k.* from ${tables} where ${where.text} ${orderAndPage(query, 'k')}`,
    where.values,
  );
  const count = await countRows(sql, { tables, where, query, found: rows.length });
  return { items: rows.map(toRecord), ...count };
}

/** For ever; nothing of a key that was revoked before changes. */
export async function revokeApiKey(sql: Sql, id: string): Promise<ApiKeyRecord> {
  return changed(
    await sql.query<ApiKeyRow>(
      'update api_keys set revoked_at = coalesce(revoked_at, flotilla_now()) where id = $1 returning *',
      [id],
    ),
  );
}

export type ApiKeyChange = Pick<
  ApiKeyRecord,
  'name' | 'permissions' | 'allowedIps' | 'rateLimitPerSecond' | 'expiresAtMs'
>;

export async function updateApiKey(sql: Sql, id: string, change: ApiKeyChange): Promise<ApiKeyRecord> {
  return changed(
    await sql.query<ApiKeyRow>(
      `update api_keys set name = $2, permissions = $3, allowed_ips = $4, rate_limit_per_second = $5,
         expires_at = to_timestamp($6::double precision / 1000) where id = $1 returning *`,
      [id, change.name, change.permissions, change.allowedIps, change.rateLimitPerSecond, change.expiresAtMs],
    ),
  );
}

/** The key's new secret; the one it had works for `overlapMs` more, and the one before that no longer. */
export async function rotateApiKey(
  sql: Sql,
  vault: Vault,
  { key, secret, overlapMs }: { key: ApiKeyRecord; secret: string; overlapMs: number },
): Promise<ApiKeyRecord> {
  const sealed = vault.seal(secret, ownerOf(key.accountId, key.id));
  return changed(
    await sql.query<ApiKeyRow>(
      `update api_keys set secret_sealed = $2,
         previous_secret_sealed = case when $3 > 0 then secret_sealed end,
         previous_secret_until = case when $3 > 0 then flotilla_now() + $3 * interval '1 millisecond' end
       where id = $1 returning *`,
      [key.id, sealed, overlapMs],
    ),
  );
}

function changed([row]: ApiKeyRow[]): ApiKeyRecord {
  if (row === undefined) throw new Error('The key that was locked is gone.');
  return toRecord(row);
}

/** Public keys of nodes that were revoked within the last hour. */
export async function listRevokedNodeKeys(sql: Sql): Promise<string[]> {
  const rows = await sql.query<{ public_key: string }>({
    name: 'list_revoked_node_keys',
    text: `select public_key from api_keys
      where node_id is not null and revoked_at > flotilla_now() - interval '1 hour'`,
  });
  return rows.map((row) => row.public_key);
}

function ownerOf(accountId: string, keyId: string): string {
  return `account/${accountId}/api_key/${keyId}`;
}

function toRecord(row: ApiKeyRow): ApiKeyRecord {
  return {
    id: row.id,
    accountId: row.account_id,
    name: row.name,
    preset: row.preset,
    permissions: row.permissions,
    publicKey: row.public_key,
    nodeId: row.node_id,
    userId: row.user_id,
    allowedIps: row.allowed_ips,
    rateLimitPerSecond: row.rate_limit_per_second,
    expiresAtMs: row.expires_at,
    revokedAtMs: row.revoked_at,
    previousSecretUntilMs: row.previous_secret_until,
    createdAtMs: row.created_at,
  };
}
