// Access tokens: short-lived JWTs of a session, made and read; a token never does more than who signed in may do now.
import { errors, jwtVerify, SignJWT } from 'jose';
import type { Identity } from '../db/identities.ts';
import type { Session } from '../db/sessions.ts';
import { uuidPattern } from '../protocol/schema.ts';
import type { CallerKey } from './auth.ts';
import { ApiError } from './errors.ts';
import type { KeyCache } from './key-cache.ts';
import type { SessionCache } from './session-cache.ts';
import { type TokenKeys, tokenAlgorithm } from './token-keys.ts';

export interface TokenHolder {
  /** The key that signed in, or the identity in the shape of one; its permissions are the token's. */
  key: CallerKey;
  session: Session;
  /** First part of the canonical string and key of the HMAC. */
  hmacKey: string;
}

export interface Tokens {
  issue(session: Session, key: CallerKey): Promise<{ token: string; expiresAtMs: number }>;
  /** Who holds it; ApiError token_expired, token_invalid or key_expired otherwise. Addresses are not looked at. */
  read(token: string): Promise<TokenHolder>;
  /** The key behind a session, or the identity in its shape, with what it may do now. */
  keyOf(session: Session): Promise<CallerKey>;
}

interface TokenDeps {
  keys: KeyCache;
  sessions: SessionCache;
  tokenKeys: TokenKeys;
  /** Of the cluster, so that every replica's tokens are one another's. */
  issuer: string;
  /** Epoch milliseconds. */
  now: () => number;
  newId: () => string;
  newToken: (length: number) => string;
}

const isUuid = new RegExp(uuidPattern);
const lifeMs = 10 * 60_000;
const hmacKeyLength = 43;
/** RFC 9068: no other JWT of any issuer passes for one of these. */
const tokenType = 'at+jwt';
const claimNames = ['exp', 'iat', 'jti', 'sub', 'sid', 'account', 'permissions', 'hmac_key'];

export function createTokens(deps: TokenDeps): Tokens {
  return {
    issue: (session, key) => issueToken(deps, session, key),
    read: (token) => readToken(deps, token),
    keyOf: (session) => keyOfSession(deps, session),
  };
}

async function issueToken(deps: TokenDeps, session: Session, key: CallerKey) {
  const { id, key: privateKey } = await deps.tokenKeys.signing();
  const nowMs = deps.now();
  const expiresAtMs = Math.min(
    nowMs + lifeMs,
    session.expiresAtMs,
    key.expiresAtMs ?? Number.POSITIVE_INFINITY,
  );
  const claims = {
    sid: session.id,
    account: session.accountId,
    permissions: key.permissions,
    hmac_key: deps.newToken(hmacKeyLength),
  };
  const token = await new SignJWT(claims)
    .setProtectedHeader({ alg: tokenAlgorithm, typ: tokenType, kid: id })
    .setIssuer(deps.issuer)
    .setAudience(deps.issuer)
    .setSubject(key.id)
    .setJti(deps.newId())
    .setIssuedAt(Math.floor(nowMs / 1000))
    .setExpirationTime(Math.floor(expiresAtMs / 1000))
    .sign(privateKey);
  return { token, expiresAtMs: Math.floor(expiresAtMs / 1000) * 1000 };
}

async function readToken(deps: TokenDeps, token: string): Promise<TokenHolder> {
  const claims = await verify(deps, token);
  const session = await deps.sessions.find(claims.sid);
  if (session === null || session.revokedAtMs !== null) {
    throw new ApiError('token_invalid', 'The session of this token has ended; sign in again.');
  }
  const key = await keyOfSession(deps, session);
  const permissions = key.permissions.filter((permission) => claims.permissions.includes(permission));
  return { key: { ...key, permissions }, session, hmacKey: claims.hmacKey };
}

async function verify(
  { tokenKeys, issuer, now }: TokenDeps,
  token: string,
): Promise<{ sid: string; hmacKey: string; permissions: readonly unknown[] }> {
  try {
    const { payload } = await jwtVerify(
      token,
      async ({ kid }) => {
        const key = typeof kid === 'string' ? await tokenKeys.verifying(kid) : null;
        if (key === null) throw new errors.JWKSNoMatchingKey();
        return key;
      },
      {
        ...{ algorithms: [tokenAlgorithm], issuer, audience: issuer, typ: tokenType },
        ...{ requiredClaims: claimNames, currentDate: new Date(now()) },
      },
    );
    const { sid, hmac_key: hmacKey, permissions } = payload;
    if (
      typeof sid === 'string' &&
      isUuid.test(sid) &&
      typeof hmacKey === 'string' &&
      Array.isArray(permissions)
    )
      return { sid, hmacKey, permissions };
  } catch (error) {
    if (error instanceof errors.JWTExpired) {
      throw new ApiError('token_expired', 'The access token has expired; renew it with the refresh token.', {
        cause: error,
      });
    }
    if (!(error instanceof errors.JOSEError)) throw error;
    throw new ApiError('token_invalid', 'This is not an access token of this cluster; sign in again.', {
      cause: error,
    });
  }
  throw new ApiError('token_invalid', 'This access token lacks claims; sign in again.');
}

async function keyOfSession({ keys }: TokenDeps, { holder, permissions }: Session): Promise<CallerKey> {
  const key = holder.kind === 'key' ? await keys.find(holder.publicKey) : keyShapeOf(holder.identity);
  if (key === null)
    throw new ApiError('key_unknown', 'The API key that signed in is gone; sign in with another.');
  return { ...key, permissions: key.permissions.filter((permission) => permissions.includes(permission)) };
}

/** What the rest of the API asks of a key. */
function keyShapeOf({ id, accountId, email, subject, permissions }: Identity): CallerKey {
  return {
    ...{
      id,
      accountId,
      name: email ?? subject,
      preset: 'consumer',
      permissions,
    },
    ...{ publicKey: '', nodeId: null, userId: null, allowedIps: [], rateLimitPerSecond: null },
    ...{ expiresAtMs: null, revokedAtMs: null, previousSecretUntilMs: null, createdAtMs: 0 },
    userRole: null,
  };
}
