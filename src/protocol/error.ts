// The error envelope of the public API and the codes it may carry.
import Type, { type Static } from 'typebox';
import { Words } from './schema.ts';

export const errorCodes = [
  'validation_failed',
  'signature_invalid',
  'clock_skew',
  'nonce_reused',
  'key_unknown',
  'key_expired',
  'token_invalid',
  'token_expired',
  'insufficient_credit',
  'permission_denied',
  'ip_not_allowed',
  'not_found',
  'idempotency_conflict',
  'conflict',
  'payload_too_large',
  'unsupported_media_type',
  'rate_limited',
  'internal_error',
  'unavailable',
] as const;
export type ErrorCode = (typeof errorCodes)[number];

/** One wrong field of a request: JSON path, what was expected, what came, and for an unknown field the nearest known. */
export const FieldIssue = Type.Object({
  path: Type.String(),
  expected: Type.String(),
  received: Type.Optional(Type.String()),
  hint: Type.Optional(Type.String()),
});
export type FieldIssue = Static<typeof FieldIssue>;

export const ErrorBody = Type.Object({
  error: Type.Object({
    code: Words(errorCodes),
    message: Type.String(),
    details: Type.Optional(Type.Unknown()),
    request_id: Type.String(),
  }),
});
export type ErrorBody = Static<typeof ErrorBody>;
