// Who is asking: checks the signature headers, the key's rights and addresses, and the nonce's freshness.
import type { FastifyRequest } from 'fastify';
import type { ApiKeyRecord, SigningKey } from '../db/api-keys.ts';
import type { Session } from '../db/sessions.ts';
import type { Permission } from '../protocol/api-key.ts';
import { ApiError, nonceReused } from './errors.ts';
import type { FailureThrottle } from './failure-throttle.ts';
import { addressList } from './job-request.ts';
import type { KeyCache } from './key-cache.ts';
import type { ReadNonces } from './read-nonces.ts';
import { type SignatureVerdict, verifySignature } from './signature.ts';

/** Of a key what its use depends on; an identity takes the same shape. */
export type CallerKey = Omit<SigningKey, 'secret' | 'previousSecret'>;

/** The caller of a request with effect takes `nonce` in the same transaction as the effect. */
export interface Caller {
  /** With a token: what signed in, and of its permissions those of the token. */
  key: CallerKey;
  /** null: signed with the key itself. */
  session: Session | null;
  accountId: string;
  nonce: { keyId: string; value: string };
  address: string;
}

export interface SignedParts {
  method: string;
  /** As on the request line, query included. */
  url: string;
  headers: Record<string, string | string[] | undefined>;
  address: string;
  body: Buffer;
  parsedBody: unknown;
  /** Hash of a body that is not in memory; `body` is empty then. */
  bodySha256?: string;
}

export interface Authenticator {
  /** The caller, or an ApiError; failures count against the address. */
  authenticate(parts: SignedParts): Promise<Caller>;
  /** Throws unless the headers are well-formed and name a key we have: before a large body is taken in. */
  checkKnown(headers: SignedParts['headers']): Promise<void>;
}

const clockWindowMs = 5 * 60_000;

export function createAuthenticator(deps: {
  keys: KeyCache;
  throttle: FailureThrottle;
  now: () => number;
}): Authenticator {
  return {
    async checkKnown(headers) {
      const key = await deps.keys.find(readHeaders(headers).publicKey);
      if (key === null) throw new ApiError('key_unknown', 'There is no API key with this X-API-Key.');
    },
    authenticate: (parts) => throttled(deps.throttle, parts.address, () => check(parts, deps)),
  };
}

/** `work`, unless its address failed too often; what it refuses with 401 counts. */
export async function throttled<T>(
  throttle: FailureThrottle,
  address: string,
  work: () => Promise<T>,
): Promise<T> {
  const waitSeconds = throttle.waitSeconds(address);
  if (waitSeconds > 0) {
    throw new ApiError(
      'rate_limited',
      `Too many failed signatures from this address; wait ${waitSeconds} s.`,
      { retryAfterSeconds: waitSeconds },
    );
  }
  try {
    return await work();
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) throttle.fail(address);
    throw error;
  }
}

async function check(parts: SignedParts, deps: { keys: KeyCache; now: () => number }): Promise<Caller> {
  const headers = readHeaders(parts.headers);
  const key = await deps.keys.find(headers.publicKey);
  if (key === null) throw new ApiError('key_unknown', 'There is no API key with this X-API-Key.');
  checkSignature(parts, headers, { key, nowMs: deps.now() });
  checkClock(headers.timeMs, deps.now());
  checkKey(key, parts.address, deps.now());
  return {
    key,
    session: null,
    accountId: key.accountId,
    nonce: { keyId: key.id, value: headers.nonce },
    address: parts.address,
  };
}

export interface SignatureHeaders {
  publicKey: string;
  timeMs: string;
  nonce: string;
  signature: string;
}

export function readHeaders(headers: SignedParts['headers']): SignatureHeaders {
  const read = (name: string, pattern: RegExp, expected: string) => {
    const value = headers[name.toLowerCase()];
    if (typeof value === 'string' && pattern.test(value)) return value;
    throw new ApiError(
      'signature_invalid',
      `The header ${name} is ${value === undefined ? 'missing' : 'malformed'}: ${expected}. See /docs for signing.`,
    );
  };
  return {
    publicKey: read('X-API-Key', /^[\w-]{1,128}$/, 'send your public key, pk_…'),
    timeMs: read('X-Time', /^\d{1,16}$/, 'send the time as epoch milliseconds'),
    nonce: read('X-Nonce', /^[\w.~-]{16,128}$/, 'send 16 fresh random bytes as 32 hex digits'),
    signature: read('X-Signature', /^[0-9a-fA-F]{64}$/, 'send the HMAC-SHA256 as 64 hex digits'),
  };
}

function checkSignature(
  parts: SignedParts,
  headers: SignatureHeaders,
  { key, nowMs }: { key: SigningKey; nowMs: number },
): void {
  const verdict = verdictOf(parts, headers, key.secret);
  if (verdict.ok) return;
  const { previousSecret, previousSecretUntilMs } = key;
  const isOverlap = previousSecret !== null && (previousSecretUntilMs ?? 0) > nowMs;
  if (isOverlap && verdictOf(parts, headers, previousSecret).ok) return;
  throw new ApiError(
    'signature_invalid',
    'The signature does not match; compare what you signed with details.canonical_string.',
    {
      details: { canonical_string: verdict.canonical },
    },
  );
}

/** Whether the signature is the one that `secret` makes. */
export function verdictOf(parts: SignedParts, headers: SignatureHeaders, secret: string): SignatureVerdict {
  const at = parts.url.indexOf('?');
  return verifySignature({
    ...headers,
    secret,
    method: parts.method,
    pathname: at < 0 ? parts.url : parts.url.slice(0, at),
    rawQuery: at < 0 ? '' : parts.url.slice(at + 1),
    body: parts.body,
    parsedBody: parts.parsedBody,
    ...(parts.bodySha256 === undefined ? {} : { bodySha256: parts.bodySha256 }),
  });
}

export function checkClock(timeMs: string, nowMs: number): void {
  if (Math.abs(Number(timeMs) - nowMs) <= clockWindowMs) return;
  throw new ApiError(
    'clock_skew',
    'X-Time is more than 5 minutes off; set the clock and sign with the current epoch milliseconds.',
    {
      details: { server_time_ms: Math.round(nowMs), x_time_ms: Number(timeMs) },
    },
  );
}

/** Throws unless the key works now, and from this address. */
export function checkKey(key: ApiKeyRecord, address: string, nowMs: number): void {
  if (key.revokedAtMs !== null) throw new ApiError('key_expired', revokedText(key));
  if (key.expiresAtMs !== null && key.expiresAtMs <= nowMs) {
    throw new ApiError(
      'key_expired',
      `This API key expired at ${new Date(key.expiresAtMs).toISOString()}; make a new one.`,
    );
  }
  if (key.allowedIps.length === 0) return;
  const plain = address.replace(/^::ffff:(?=\d+\.)/, '');
  const isAllowed = addressList(key.allowedIps).check(plain, plain.includes(':') ? 'ipv6' : 'ipv4');
  if (!isAllowed) throw new ApiError('ip_not_allowed', `This API key may not be used from ${plain}.`);
}

/** An agent shows it to the operator of its machine, and it removes nothing of what it runs. */
function revokedText({ nodeId }: ApiKeyRecord): string {
  return nodeId === null
    ? 'This API key was revoked; use another one.'
    : 'The key of this node was revoked, as it is when a node is removed; "flotilla node register" makes it a new node.';
}

/** Throws 403 unless the caller's key has the permission. */
export function requirePermission(caller: Caller, permission: Permission): void {
  if (caller.key.permissions.includes(permission)) return;
  throw new ApiError('permission_denied', `This API key lacks the permission ${permission}.`, {
    details: { required: permission, granted: caller.key.permissions },
  });
}

/** The caller as events name it. */
export function actorOf({ key, session, address }: Caller): Record<string, unknown> {
  if (session?.holder.kind === 'identity')
    return { kind: 'identity', identity_uuid: key.id, name: key.name, address };
  return { kind: 'key', key_uuid: key.id, public_key: key.publicKey, address };
}

/** A plain read's nonce: refused when this replica remembers it. */
export function claimReadNonce(caller: Caller, nonces: ReadNonces): void {
  if (!nonces.claim(caller.nonce.keyId, caller.nonce.value)) throw nonceReused();
}

/** Set by the server's hook on every signed route. */
export function callerOf(request: FastifyRequest): Caller {
  const { caller } = request as FastifyRequest & { caller?: Caller };
  if (caller === undefined) throw new Error(`The route ${request.url} is not signed.`);
  return caller;
}
