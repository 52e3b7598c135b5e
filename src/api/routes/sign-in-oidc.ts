// Routes of signing in by an OpenID Connect provider: to it, back from it, and from the one-time code to tokens.
import { createHash, timingSafeEqual } from 'node:crypto';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import Type from 'typebox';
import { writeAuditEntry } from '../../db/audit-log.ts';
import type { Sql } from '../../db/database.ts';
import { type Identity, saveIdentity } from '../../db/identities.ts';
import {
  createSignInAttempt,
  createSignInCode,
  type SignInAttempt,
  takeSignInAttempt,
  takeSignInCode,
} from '../../db/sign-in-attempts.ts';
import type { Vault } from '../../db/vault.ts';
import type { IdentityMapping } from '../../domain/identity-mapping.ts';
import type { FieldIssue } from '../../protocol/error.ts';
import { OidcTokenBody, SessionTokens } from '../../protocol/sign-in.ts';
import { throttled } from '../auth.ts';
import { unsignedBody } from '../body.ts';
import { ApiError, validationFailed } from '../errors.ts';
import type { FailureThrottle } from '../failure-throttle.ts';
import { identityOf } from '../identity-rights.ts';
import type { OidcProvider } from '../oidc.ts';
import { rawQueryOf, refuseQuery } from '../route-parts.ts';
import { openSession, type SignInDeps } from '../sign-in.ts';
import { bodyCheck } from '../validate.ts';

export interface OidcRouteDeps extends SignInDeps {
  vault: Vault;
  throttle: FailureThrottle;
  /** Counts sign-ins that were begun, as the other counts failures. */
  begins: FailureThrottle;
  oidc: {
    provider: OidcProvider;
    mappings: readonly IdentityMapping[];
    /** Where browsers reach this server; its origin. */
    publicUrl: () => string;
  } | null;
}

type ConfiguredDeps = OidcRouteDeps & { oidc: NonNullable<OidcRouteDeps['oidc']> };

const tags = ['Sign-in'];
const tokenCheck = bodyCheck(OidcTokenBody);
/** For the person to type a password, or to look for the phone. */
const attemptMs = 10 * 60_000;
const codeMs = 60_000;
/** The provider is asked again after a working day: whoever it knows no more is out by then. */
const sessionMs = 12 * 3_600_000;
const secretLength = 43;
const cookieName = 'flotilla_sign_in';
const cookiePath = '/v1/sign-in/oidc';

export function oidcRoutes(app: FastifyInstance, deps: OidcRouteDeps): void {
  const away = { 302: { description: 'on to the provider or back to the client', type: 'null' } };
  app.get(
    '/v1/sign-in/oidc',
    {
      schema: {
        tags,
        summary: 'Send the browser to the OpenID Connect provider; it comes back to redirect_uri with a code',
        security: [],
        querystring: Type.Object({
          redirect_uri: Type.String({ description: 'on loopback (http://127.0.0.1:…), or of this server' }),
          state: Type.String({ description: 'comes back as it is' }),
          code_challenge: Type.String({
            description: 'base64url of the SHA-256 of the code verifier (S256)',
          }),
        }),
        response: away,
      },
    },
    async (request, reply) => begin(request, reply, configured(deps)),
  );
  app.get(
    '/v1/sign-in/oidc/callback',
    {
      schema: {
        tags,
        summary: 'Where the provider sends the browser back to',
        security: [],
        response: away,
      },
    },
    async (request, reply) => finish(request, reply, configured(deps)),
  );
  app.post(
    '/v1/sign-in/oidc/token',
    {
      schema: {
        tags,
        summary: 'Tokens for the code that came back, once, with the verifier of its challenge',
        security: [],
        body: OidcTokenBody,
        response: { 201: SessionTokens },
      },
    },
    async (request, reply) => {
      refuseQuery(request);
      const body = tokenCheck.parse(unsignedBody(request));
      const tokens = await throttled(deps.throttle, request.ip, () =>
        changeCode(configured(deps), body, request.ip),
      );
      return reply.code(201).header('cache-control', 'no-store').send(tokens);
    },
  );
}

function configured(deps: OidcRouteDeps): ConfiguredDeps {
  if (deps.oidc !== null) return { ...deps, oidc: deps.oidc };
  throw new ApiError(
    'not_found',
    'This server signs nobody in by OpenID Connect; its operator names a provider with --oidc-issuer.',
  );
}

async function begin(request: FastifyRequest, reply: FastifyReply, deps: ConfiguredDeps) {
  const { oidc, newToken } = deps;
  limitBegins(deps.begins, request.ip);
  const wanted = readBegin(rawQueryOf(request), oidc.publicUrl());
  const [state, browser] = [newToken(secretLength), newToken(secretLength)];
  const { url, secrets } = await oidc.provider.begin({ redirectUri: callbackUrl(deps), state });
  const attempt = { ...wanted, secrets, state, browser, lifeMs: attemptMs };
  await createSignInAttempt(deps.database, deps.vault, attempt);
  return reply
    .header('set-cookie', cookie(deps, browser))
    .header('cache-control', 'no-store')
    .redirect(url.href);
}

/** Each is a row for ten minutes, and whoever asks need not be known. */
function limitBegins(begins: FailureThrottle, address: string): void {
  const waitSeconds = begins.waitSeconds(address);
  if (waitSeconds > 0) {
    throw new ApiError(
      'rate_limited',
      `Too many sign-ins were begun from this address; wait ${waitSeconds} s.`,
      { retryAfterSeconds: waitSeconds },
    );
  }
  begins.fail(address);
}

/** Only where a code helps nobody but who is there already: a program on the person's machine, or this server. */
function readBegin(rawQuery: string, publicUrl: string): Omit<SignInAttempt, 'secrets'> {
  const query = new URLSearchParams(rawQuery);
  const issues: FieldIssue[] = [];
  const read = (name: string, isRight: (text: string) => boolean, expected: string) => {
    const [text, ...more] = query.getAll(name);
    if (text === undefined || more.length > 0 || !isRight(text)) issues.push({ path: name, expected });
    return text ?? '';
  };
  const wanted = {
    redirectUri: read(
      'redirect_uri',
      (text) => isOurs(text, publicUrl),
      'an address on loopback, such as http://127.0.0.1:8400/, or of this server',
    ),
    clientState: read('state', (text) => /^[\x21-\x7e]{1,512}$/.test(text), '1 to 512 visible characters'),
    codeChallenge: read(
      'code_challenge',
      (text) => /^[\w-]{43}$/.test(text),
      'the base64url of a SHA-256, 43 characters',
    ),
  };
  for (const name of new Set(query.keys())) {
    if (!['redirect_uri', 'state', 'code_challenge'].includes(name))
      issues.push({ path: name.slice(0, 80), expected: 'redirect_uri, state and code_challenge alone' });
  }
  if (issues.length > 0) throw validationFailed(issues);
  return wanted;
}

function isOurs(text: string, publicUrl: string): boolean {
  const url = text.length <= 2_048 && URL.canParse(text) ? new URL(text) : null;
  if (url === null || url.hash !== '' || url.username !== '' || url.password !== '') return false;
  const isLoopback = url.protocol === 'http:' && /^(localhost|127\.0\.0\.1|\[::1\])$/.test(url.hostname);
  return isLoopback || url.origin === new URL(publicUrl).origin;
}

async function finish(request: FastifyRequest, reply: FastifyReply, deps: ConfiguredDeps) {
  const state = new URLSearchParams(rawQueryOf(request)).get('state') ?? '';
  const browser = cookieOf(request);
  const attempt = await throttled(deps.throttle, request.ip, async () => {
    const found = await takeSignInAttempt(deps.database, deps.vault, { state, browser });
    if (found !== null) return found;
    throw new ApiError(
      'token_invalid',
      'This sign-in was begun in another browser, was finished, or took longer than 10 minutes; begin it again.',
    );
  });
  const back = new URL(attempt.redirectUri);
  back.searchParams.set('state', attempt.clientState);
  try {
    back.searchParams.set('code', await codeFor(attempt, { state, rawQuery: rawQueryOf(request) }, deps));
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    request.log.warn({ err: error }, 'Nobody was signed in by the OpenID Connect provider.');
    back.searchParams.set('error', error.code);
    back.searchParams.set('error_description', error.message);
  }
  return reply
    .header('set-cookie', cookie(deps, null))
    .header('cache-control', 'no-store')
    .redirect(back.href);
}

async function codeFor(
  attempt: SignInAttempt,
  { state, rawQuery }: { state: string; rawQuery: string },
  deps: ConfiguredDeps,
): Promise<string> {
  const { provider, mappings } = deps.oidc;
  const url = new URL(`${callbackUrl(deps)}?${rawQuery}`);
  const claims = await provider.finish({ url, state, secrets: attempt.secrets });
  const identity = await identityOf(deps, { issuer: provider.issuer, claims }, mappings);
  const secret = deps.newToken(secretLength);
  await deps.database.transaction(async (sql) => {
    const { id: identityId } = await keepIdentity(sql, identity, deps);
    const { codeChallenge } = attempt;
    await createSignInCode(sql, { secret, identityId, codeChallenge, lifeMs: codeMs });
  });
  return secret;
}

/** An account and rights that are new to the person are a change of rights, made by the operator's mapping. */
async function keepIdentity(sql: Sql, told: Identity, { newId }: ConfiguredDeps): Promise<Identity> {
  const { identity, isChanged } = await saveIdentity(sql, told);
  if (!isChanged) return identity;
  const { id: subjectId, accountId, issuer, subject, email, preset } = identity;
  await writeAuditEntry(sql, {
    ...{ id: newId(), accountId, action: 'identity_mapped', subjectKind: 'identity', subjectId },
    actor: { kind: 'oidc_map' },
    detail: { issuer, subject, email, preset },
  });
  return identity;
}

async function changeCode(
  deps: ConfiguredDeps,
  body: OidcTokenBody,
  address: string,
): Promise<SessionTokens> {
  const taken = await takeSignInCode(deps.database, body.code);
  if (taken === null || !isVerifier(body.code_verifier, taken.codeChallenge)) {
    throw new ApiError(
      'token_invalid',
      'There is no such code, it was used before, or code_verifier is not its own; sign in again.',
    );
  }
  const { id: identityId, accountId, permissions } = taken.identity;
  const session = { accountId, keyId: null, identityId, permissions, address, lifeMs: sessionMs };
  return openSession(deps, session, async () => {});
}

function isVerifier(verifier: string, challenge: string): boolean {
  const made = createHash('sha256').update(verifier).digest('base64url');
  return timingSafeEqual(Buffer.from(made), Buffer.from(challenge));
}

function callbackUrl({ oidc }: ConfiguredDeps): string {
  return `${oidc.publicUrl()}/v1/sign-in/oidc/callback`;
}

/** Ties what follows to this browser; null ends it. */
function cookie({ oidc }: ConfiguredDeps, value: string | null): string {
  const secure = oidc.publicUrl().startsWith('https:') ? '; Secure' : '';
  const age = value === null ? 0 : attemptMs / 1000;
  return `${cookieName}=${value ?? ''}; Path=${cookiePath}; Max-Age=${age}; HttpOnly; SameSite=Lax${secure}`;
}

function cookieOf({ headers }: FastifyRequest): string {
  const found = new RegExp(`(?:^|;\\s*)${cookieName}=(\\w+)`).exec(headers.cookie ?? '');
  return found?.[1] ?? '';
}
