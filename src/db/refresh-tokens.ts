// Refresh tokens: kept as hashes, each works once, and one that is shown a second time ends its whole session.
import { createHash } from 'node:crypto';
import type { Sql } from './database.ts';
import { revokeSession } from './sessions.ts';

export type Rotation =
  | { outcome: 'rotated'; expiresAtMs: number }
  | { outcome: 'expired' | 'revoked' | 'reused' };

/** Answers when it expires, epoch milliseconds: never after its session. */
export async function createRefreshToken(
  sql: Sql,
  options: { secret: string; sessionId: string; idleMs: number },
): Promise<number> {
  const [row] = await sql.query<{ expires_at: number }>(
    `insert into refresh_tokens (hash, session_id, expires_at)
     select $1, s.id, least(s.expires_at, flotilla_now() + $3 * interval '1 millisecond')
     from sessions s where s.id = $2 returning expires_at`,
    [hashOf(options.secret), options.sessionId, options.idleMs],
  );
  if (row === undefined) throw new Error('The refresh token was not stored.');
  return row.expires_at;
}

/** The session that the token belongs to, whatever their state. */
export async function findSessionIdOfRefreshToken(sql: Sql, secret: string): Promise<string | null> {
  const [row] = await sql.query<{ session_id: string }>(
    'select session_id from refresh_tokens where hash = $1',
    [hashOf(secret)],
  );
  return row?.session_id ?? null;
}

/** In a transaction that commits whatever the outcome: a reuse ends the session here. */
export async function rotateRefreshToken(
  sql: Sql,
  options: { secret: string; next: string; sessionId: string; idleMs: number },
): Promise<Rotation> {
  // The session's row first: whoever shows tokens of one session takes turns.
  const [session] = await sql.query<{ is_revoked: boolean }>(
    'select revoked_at is not null as is_revoked from sessions where id = $1 for update',
    [options.sessionId],
  );
  if (session === undefined || session.is_revoked) return { outcome: 'revoked' };
  const [token] = await sql.query<{ is_used: boolean; is_expired: boolean }>(
    `select used_at is not null as is_used, expires_at <= flotilla_now() as is_expired
     from refresh_tokens where hash = $1 and session_id = $2`,
    [hashOf(options.secret), options.sessionId],
  );
  if (token === undefined) return { outcome: 'revoked' };
  if (token.is_used) {
    await revokeSession(sql, options.sessionId, 'a used refresh token was shown again');
    return { outcome: 'reused' };
  }
  if (token.is_expired) return { outcome: 'expired' };
  await sql.query('update refresh_tokens set used_at = flotilla_now() where hash = $1', [
    hashOf(options.secret),
  ]);
  const next = { secret: options.next, sessionId: options.sessionId, idleMs: options.idleMs };
  return { outcome: 'rotated', expiresAtMs: await createRefreshToken(sql, next) };
}

function hashOf(secret: string): Buffer {
  return createHash('sha256').update(secret).digest();
}
