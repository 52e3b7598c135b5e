// Routes of sessions: sign in with a key, new tokens for a refresh token, sign out.
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { claimNonce } from '../../db/nonces.ts';
import { findSessionIdOfRefreshToken } from '../../db/refresh-tokens.ts';
import { RefreshBody, SessionTokens, SignedOut, SignInBody, SignOutBody } from '../../protocol/sign-in.ts';
import { type Authenticator, type Caller, callerOf, throttled } from '../auth.ts';
import { rawBodyOf, unsignedBody } from '../body.ts';
import { ApiError, nonceReused } from '../errors.ts';
import type { FailureThrottle } from '../failure-throttle.ts';
import { refuseQuery } from '../route-parts.ts';
import { endSession, openSession, refreshSession, type SignInDeps } from '../sign-in.ts';
import { bodyCheck } from '../validate.ts';

const signInCheck = bodyCheck(SignInBody);
const refreshCheck = bodyCheck(RefreshBody);
const signOutCheck = bodyCheck(SignOutBody);
const tags = ['Sign-in'];
/** Of a session that a key signed in, at most; the key's own end comes first. */
const sessionMs = 30 * 86_400_000;

/** Signed like every other route. */
export function signInRoutes(app: FastifyInstance, deps: SignInDeps): void {
  app.post(
    '/v1/sign-in',
    {
      schema: {
        tags,
        summary: 'Sign in with an API key, which signs this request: an access token and a refresh token',
        body: SignInBody,
        response: { 201: SessionTokens },
      },
    },
    async (request, reply) => reply.code(201).send(await signIn(request, deps)),
  );
}

/** What a refresh token alone may ask for. */
export function sessionRoutes(
  app: FastifyInstance,
  deps: SignInDeps & { throttle: FailureThrottle; authenticator: Authenticator },
): void {
  app.post(
    '/v1/sign-in/refresh',
    {
      schema: {
        tags,
        summary: 'New tokens for a refresh token, which works once; a second use ends the session',
        security: [],
        body: RefreshBody,
        response: { 201: SessionTokens },
      },
    },
    async (request, reply) => {
      refuseQuery(request);
      const { refresh_token: secret } = refreshCheck.parse(unsignedBody(request));
      const address = request.ip;
      const tokens = await throttled(deps.throttle, address, () => refreshSession(deps, { secret, address }));
      return reply.code(201).header('cache-control', 'no-store').send(tokens);
    },
  );
  app.post(
    '/v1/sign-out',
    {
      schema: {
        tags,
        summary: 'End the session of a refresh token, or of the access token in Authorization, at once',
        security: [{}, { bearer: [] }],
        body: SignOutBody,
        response: { 200: SignedOut },
      },
    },
    async (request): Promise<SignedOut> => {
      refuseQuery(request);
      const { refresh_token: secret } = signOutCheck.parse(unsignedBody(request));
      const sessionId = secret === undefined ? await sessionOf(request, deps) : await ownerOf(secret, deps);
      if (sessionId !== null) await endSession(deps, sessionId, 'signed out');
      return { object: 'signed_out' };
    },
  );
}

async function signIn(request: FastifyRequest, deps: SignInDeps): Promise<SessionTokens> {
  const caller = callerOf(request);
  requireKey(caller);
  refuseQuery(request);
  const body = signInCheck.parse(request.body);
  const wanted = body.permissions ?? caller.key.permissions;
  const permissions = wanted.filter((permission) => caller.key.permissions.includes(permission));
  if (permissions.length === 0 || permissions.length < wanted.length) {
    throw new ApiError(
      'permission_denied',
      'A token may do what its API key may do, and at least one thing.',
      {
        details: { required: wanted, granted: caller.key.permissions },
      },
    );
  }
  const { accountId, address, key, nonce } = caller;
  const session = { accountId, keyId: key.id, identityId: null, permissions, address, lifeMs: sessionMs };
  return openSession(deps, session, async (sql) => {
    if (!(await claimNonce(sql, nonce.keyId, nonce.value))) throw nonceReused();
  });
}

function requireKey({ session, key }: Caller): void {
  if (session === null) return;
  throw new ApiError(
    'permission_denied',
    'Sign in with an API key; the session of a token goes on by its refresh token.',
    { details: { required: [], granted: key.permissions } },
  );
}

/** An unknown token ends nothing, and that is what was asked for (RFC 7009 section 2.2). */
async function ownerOf(secret: string, deps: SignInDeps): Promise<string | null> {
  return findSessionIdOfRefreshToken(deps.database, secret);
}

async function sessionOf(
  request: FastifyRequest,
  { authenticator }: { authenticator: Authenticator },
): Promise<string> {
  const raw = rawBodyOf(request);
  const { session } = await authenticator.authenticate({
    ...{ method: request.method, url: request.raw.url ?? request.url, headers: request.headers },
    ...{ address: request.ip, body: raw.bytes, parsedBody: raw.value },
  });
  if (session !== null) return session.id;
  throw new ApiError(
    'token_invalid',
    'An API key has no session to end: send a refresh_token, or the access token as Authorization: Bearer.',
  );
}
