// Sessions from sign-in to sign-out: their first tokens, new ones for a refresh token, and their end on every replica.
import type { Database, Sql } from '../db/database.ts';
import { type Hints, publishWith } from '../db/hints.ts';
import {
  createRefreshToken,
  findSessionIdOfRefreshToken,
  type Rotation,
  rotateRefreshToken,
} from '../db/refresh-tokens.ts';
import { createSession, findSession, type NewSession, revokeSession, type Session } from '../db/sessions.ts';
import type { SessionTokens } from '../protocol/sign-in.ts';
import { checkKey } from './auth.ts';
import { ApiError } from './errors.ts';
import { timestamp } from './job-view.ts';
import type { Tokens } from './tokens.ts';

export interface SignInDeps {
  database: Database;
  hints: Hints;
  tokens: Tokens;
  /** Epoch milliseconds. */
  now: () => number;
  newId: () => string;
  newToken: (length: number) => string;
}

const refreshTokenLength = 48;
/** Unused for so long, a refresh token is over, and with it the session. */
const idleMs = 7 * 86_400_000;

/** `before` runs in the transaction that makes the session. */
export async function openSession(
  deps: SignInDeps,
  options: Omit<NewSession, 'id'>,
  before: (sql: Sql) => Promise<void>,
): Promise<SessionTokens> {
  const secret = newRefreshToken(deps);
  const { session, refreshExpiresAtMs } = await deps.database.transaction(async (sql) => {
    await before(sql);
    const created = await createSession(sql, { ...options, id: deps.newId() });
    const token = { secret, sessionId: created.id, idleMs };
    return { session: created, refreshExpiresAtMs: await createRefreshToken(sql, token) };
  });
  return tokensOf(deps, session, { secret, expiresAtMs: refreshExpiresAtMs });
}

/** Who signed in must be allowed still, and from this address. */
export async function refreshSession(
  deps: SignInDeps,
  { secret, address }: { secret: string; address: string },
): Promise<SessionTokens> {
  const sessionId = await findSessionIdOfRefreshToken(deps.database, secret);
  const session = sessionId === null ? null : await findSession(deps.database, sessionId);
  if (session === null) throw new ApiError('token_invalid', 'There is no such refresh token; sign in again.');
  checkKey(await deps.tokens.keyOf(session), address, deps.now());
  const next = newRefreshToken(deps);
  const rotation = await deps.database.transaction(async (sql) => {
    const outcome = await rotateRefreshToken(sql, { secret, next, sessionId: session.id, idleMs });
    if (outcome.outcome === 'reused') await publishWith(sql, { kind: 'session', sessionId: session.id });
    return outcome;
  });
  if (rotation.outcome === 'reused') deps.hints.publish({ kind: 'session', sessionId: session.id });
  if (rotation.outcome !== 'rotated') throw refusalOf(rotation);
  return tokensOf(deps, session, { secret: next, expiresAtMs: rotation.expiresAtMs });
}

/** Ends the session at once, with every token of it; one that had ended stays as it is. */
export async function endSession(deps: SignInDeps, sessionId: string, reason: string): Promise<void> {
  await deps.database.transaction(async (sql) => {
    await revokeSession(sql, sessionId, reason);
    await publishWith(sql, { kind: 'session', sessionId });
  });
  deps.hints.publish({ kind: 'session', sessionId });
}

function newRefreshToken({ newToken }: SignInDeps): string {
  return `rt_${newToken(refreshTokenLength)}`;
}

function refusalOf({ outcome }: Exclude<Rotation, { outcome: 'rotated' }>): ApiError {
  if (outcome === 'expired')
    return new ApiError('token_expired', 'The refresh token has expired; sign in again.');
  if (outcome === 'revoked') return new ApiError('token_invalid', 'The session has ended; sign in again.');
  return new ApiError(
    'token_invalid',
    'This refresh token was used before, so its session is ended; sign in again.',
  );
}

async function tokensOf(
  { tokens }: SignInDeps,
  session: Session,
  refresh: { secret: string; expiresAtMs: number },
): Promise<SessionTokens> {
  const key = await tokens.keyOf(session);
  const access = await tokens.issue(session, key);
  return {
    object: 'session_tokens',
    session_uuid: session.id,
    account_uuid: session.accountId,
    token_type: 'Bearer',
    access_token: access.token,
    expires_at: timestamp(access.expiresAtMs),
    refresh_token: refresh.secret,
    refresh_expires_at: timestamp(refresh.expiresAtMs),
    permissions: [...key.permissions],
  };
}
