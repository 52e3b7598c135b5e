// When which error code is answered, and the test that sees it; statuses stand in the catalogue of the API.
import type { ErrorCode } from '../../../src/protocol/error.ts';

/** When, and a test that names the code. */
export const errorMeanings: Readonly<Record<ErrorCode, readonly [when: string, evidence: string]>> = {
  validation_failed: [
    'a body or query is wrong; `details` names every field, what was expected, and the nearest known one',
    'test/http/validation.test.ts',
  ],
  signature_invalid: [
    'headers are missing or the signature is wrong; `details` has the canonical string of the server',
    'test/http/signing.test.ts',
  ],
  clock_skew: ['X-Time is more than 5 minutes off', 'test/http/signing.test.ts'],
  nonce_reused: ['a nonce came a second time', 'test/http/signing.test.ts'],
  key_unknown: ['nobody has this key', 'test/http/signing.test.ts'],
  key_expired: ['the key has expired or was revoked', 'test/http/signing.test.ts'],
  token_invalid: [
    'the token is not of this cluster, or its session has ended',
    'test/http/access-tokens.test.ts',
  ],
  token_expired: ['the token is over: refresh it', 'test/http/access-tokens.test.ts'],
  insufficient_credit: ['the account pays in advance and has no credit', 'test/http/prepaid.test.ts'],
  permission_denied: [
    'the key lacks the permission that the sentence names',
    'test/http/authorisation.test.ts',
  ],
  ip_not_allowed: ['the key may not be used from this address', 'test/http/signing.test.ts'],
  not_found: ['there is no such thing, or it is another account’s', 'test/http/authorisation.test.ts'],
  idempotency_conflict: ['an Idempotency-Key came with another body', 'test/http/jobs.test.ts'],
  conflict: ['what stands does not allow it; the sentence says what to do', 'test/http/nodes.test.ts'],
  payload_too_large: ['the body is larger than 1 MiB', 'test/http/signing.test.ts'],
  unsupported_media_type: ['the body is no JSON', 'test/http/signing.test.ts'],
  rate_limited: ['too many requests; Retry-After says when', 'test/http/rate-limit.test.ts'],
  internal_error: ['a fault of the server; the request id finds it in the log', 'src/api/errors.test.ts'],
  unavailable: [
    'the database is away or full for 5 s and more; safe to repeat',
    'test/http/database.test.ts',
  ],
};
