// Requests with an access token: the token alone, or signed by its claim hmac_key, which stands for both halves of a key.
import {
  type Authenticator,
  type Caller,
  checkClock,
  checkKey,
  readHeaders,
  type SignedParts,
  throttled,
  verdictOf,
} from './auth.ts';
import { ApiError } from './errors.ts';
import type { FailureThrottle } from './failure-throttle.ts';
import type { TokenHolder, Tokens } from './tokens.ts';

interface BearerDeps {
  tokens: Tokens;
  throttle: FailureThrottle;
  now: () => number;
  newToken: (length: number) => string;
}

/** Fresh for each request: whoever holds a token and does not sign may repeat what they sent. */
const nonceLength = 32;

/** Whoever shows a token is known by it; all others as `byKey` knows them. */
export function acceptTokens(byKey: Authenticator, deps: BearerDeps): Authenticator {
  return {
    async checkKnown(headers) {
      const token = bearerOf(headers);
      if (token === null) return byKey.checkKnown(headers);
      await deps.tokens.read(token);
    },
    authenticate(parts) {
      const token = bearerOf(parts.headers);
      if (token === null) return byKey.authenticate(parts);
      return throttled(deps.throttle, parts.address, async () =>
        callerOfToken(parts, await deps.tokens.read(token), deps),
      );
    },
  };
}

/** The token of RFC 6750; null where another scheme or none is used. */
export function bearerOf({ authorization }: SignedParts['headers']): string | null {
  const [, token] = typeof authorization === 'string' ? (/^Bearer +(\S+) *$/i.exec(authorization) ?? []) : [];
  return token ?? null;
}

function callerOfToken(parts: SignedParts, { key, session, hmacKey }: TokenHolder, deps: BearerDeps): Caller {
  const isSigned = ['x-time', 'x-nonce', 'x-signature'].some((name) => parts.headers[name] !== undefined);
  const nonce = isSigned ? checkSigned(parts, { hmacKey, nowMs: deps.now() }) : deps.newToken(nonceLength);
  checkKey(key, parts.address, deps.now());
  return {
    key,
    session,
    accountId: session.accountId,
    nonce: { keyId: session.id, value: nonce },
    address: parts.address,
  };
}

/** The nonce, once the signature is right. */
function checkSigned(parts: SignedParts, { hmacKey, nowMs }: { hmacKey: string; nowMs: number }): string {
  const headers = readHeaders({ ...parts.headers, 'x-api-key': parts.headers['x-api-key'] ?? hmacKey });
  if (headers.publicKey !== hmacKey) {
    throw new ApiError(
      'signature_invalid',
      'X-API-Key does not belong to the token in Authorization; send one of them.',
    );
  }
  const verdict = verdictOf(parts, headers, hmacKey);
  if (!verdict.ok) {
    throw new ApiError(
      'signature_invalid',
      'The signature does not match; compare what you signed with details.canonical_string.',
      // It begins with the claim, which is a secret.
      { details: { canonical_string: `{hmac_key}${verdict.canonical.slice(hmacKey.length)}` } },
    );
  }
  checkClock(headers.timeMs, nowMs);
  return headers.nonce;
}
