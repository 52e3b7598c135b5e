// API keys: who may sign requests, as what, from where and until when.
import type { KeyPreset, Permission } from '../protocol/api-key.ts';
import type { Sql } from './database.ts';
import { type ListQuery, orderAndPage } from './list-sql.ts';
import type { Vault } from './vault.ts';

export interface ApiKeyRecord {
  id: string;
  accountId: string;
  name: string;
  preset: KeyPreset;
  permissions: readonly Permission[];
  publicKey: string;
  nodeId: string | null;
  allowedIps: readonly string[];
  expiresAtMs: number | null;
  revokedAtMs: number | null;
  createdAtMs: number;
}

/** A key with its secret in clear: for verifying signatures only. */
export interface SigningKey extends ApiKeyRecord {
  secret: string;
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
  allowedIps: readonly string[];
  expiresAtMs: number | null;
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
  allowed_ips: string[];
  expires_at: number | null;
  revoked_at: number | null;
  created_at: number;
}

export async function createApiKey(sql: Sql, vault: Vault, key: NewApiKey): Promise<ApiKeyRecord> {
  const sealed = vault.seal(key.secret, ownerOf(key.accountId, key.id));
  const [row] = await sql.query<ApiKeyRow>(
    `insert into api_keys (id, account_id, name, preset, permissions, public_key, secret_sealed, node_id, allowed_ips, expires_at)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, to_timestamp($10::double precision / 1000)) returning *`,
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
    ],
  );
  if (row === undefined) throw new Error('The key was not stored.');
  return toRecord(row);
}

export async function findSigningKey(sql: Sql, vault: Vault, publicKey: string): Promise<SigningKey | null> {
  const [row] = await sql.query<ApiKeyRow>(
    { name: 'find_signing_key', text: 'select * from api_keys where public_key = $1' },
    [publicKey],
  );
  if (row === undefined) return null;
  return { ...toRecord(row), secret: vault.open(row.secret_sealed, ownerOf(row.account_id, row.id)) };
}

export async function listApiKeys(
  sql: Sql,
  options: ListQuery & { accountId: string },
): Promise<{ items: ApiKeyRecord[]; total: number }> {
  const rows = await sql.query<ApiKeyRow>(
    `select k.* from api_keys k where k.account_id = $1 ${orderAndPage(options, 'k')}`,
    [options.accountId],
  );
  const [count] = await sql.query<{ total: number }>(
    'select count(*) as total from api_keys where account_id = $1',
    [options.accountId],
  );
  return { items: rows.map(toRecord), total: count?.total ?? 0 };
}

/** Revokes once; a key revoked before keeps its first time. Null when the account has no such key. */
export async function revokeApiKey(
  sql: Sql,
  options: { id: string; accountId: string },
): Promise<ApiKeyRecord | null> {
  const [row] = await sql.query<ApiKeyRow>(
    'update api_keys set revoked_at = coalesce(revoked_at, flotilla_now()) where id = $1 and account_id = $2 returning *',
    [options.id, options.accountId],
  );
  return row === undefined ? null : toRecord(row);
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
    allowedIps: row.allowed_ips,
    expiresAtMs: row.expires_at,
    revokedAtMs: row.revoked_at,
    createdAtMs: row.created_at,
  };
}
