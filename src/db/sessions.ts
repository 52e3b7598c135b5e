// Sessions: one sign-in each, with a key or as an identity; what an access token says holds while its session does.
import type { Permission } from '../protocol/api-key.ts';
import type { Sql } from './database.ts';
import { type Identity, type IdentityRow, toIdentity } from './identities.ts';

/** Who signed in. */
export type SessionHolder = { kind: 'key'; publicKey: string } | { kind: 'identity'; identity: Identity };

export interface Session {
  id: string;
  accountId: string;
  holder: SessionHolder;
  /** The most that its tokens may do. */
  permissions: readonly Permission[];
  expiresAtMs: number;
  revokedAtMs: number | null;
}

export interface NewSession {
  id: string;
  accountId: string;
  keyId: string | null;
  identityId: string | null;
  permissions: readonly Permission[];
  address: string;
  lifeMs: number;
}

interface SessionRow {
  id: string;
  account_id: string;
  public_key: string | null;
  identity: IdentityRow | null;
  permissions: Permission[];
  expires_at: number;
  revoked_at: number | null;
}

export async function createSession(sql: Sql, session: NewSession): Promise<Session> {
  await sql.query(
    `insert into sessions (id, account_id, key_id, identity_id, permissions, address, expires_at)
     values ($1, $2, $3, $4, $5, $6, flotilla_now() + $7 * interval '1 millisecond')`,
    [
      ...[session.id, session.accountId, session.keyId, session.identityId],
      ...[session.permissions, session.address, session.lifeMs],
    ],
  );
  const created = await findSession(sql, session.id);
  if (created === null) throw new Error('The session was not stored.');
  return created;
}

export async function findSession(sql: Sql, id: string): Promise<Session | null> {
  const [row] = await sql.query<SessionRow>(
    {
      name: 'find_session',
      text: `select s.id, s.account_id, k.public_key, s.permissions, s.expires_at, s.revoked_at,
          case when i.id is not null then to_jsonb(i) end as identity
        from sessions s left join api_keys k on k.id = s.key_id left join identities i on i.id = s.identity_id
        where s.id = $1`,
    },
    [id],
  );
  return row === undefined ? null : toSession(row);
}

/** True when it was not over before. */
export async function revokeSession(sql: Sql, id: string, reason: string): Promise<boolean> {
  const rows = await sql.query(
    `update sessions set revoked_at = flotilla_now(), revoked_reason = $2
     where id = $1 and revoked_at is null returning id`,
    [id, reason],
  );
  return rows.length > 0;
}

/** A day after their end nobody asks about them any more. */
export async function dropOldSessions(sql: Sql): Promise<void> {
  await sql.query(`delete from sessions where id in (
    select id from sessions where expires_at < flotilla_now() - interval '1 day' order by expires_at limit 1000
    for update skip locked)`);
}

function toSession(row: SessionRow): Session {
  return {
    id: row.id,
    accountId: row.account_id,
    holder: holderOf(row),
    permissions: row.permissions,
    expiresAtMs: row.expires_at,
    revokedAtMs: row.revoked_at,
  };
}

function holderOf({ public_key: publicKey, identity }: SessionRow): SessionHolder {
  if (publicKey !== null) return { kind: 'key', publicKey };
  if (identity !== null) return { kind: 'identity', identity: toIdentity(identity) };
  throw new Error('A session belongs to a key or to an identity.');
}
