// The catalogue of API errors: code, status and sentence in one place, and how any failure becomes the envelope.
import { DatabaseFull, DatabaseUnavailable } from '../db/database.ts';
import type { ErrorBody, ErrorCode, FieldIssue } from '../protocol/error.ts';

const statusOf = {
  validation_failed: 400,
  signature_invalid: 401,
  clock_skew: 401,
  nonce_reused: 401,
  key_unknown: 401,
  key_expired: 401,
  token_invalid: 401,
  token_expired: 401,
  insufficient_credit: 402,
  permission_denied: 403,
  ip_not_allowed: 403,
  not_found: 404,
  idempotency_conflict: 409,
  conflict: 409,
  payload_too_large: 413,
  unsupported_media_type: 415,
  rate_limited: 429,
  internal_error: 500,
  unavailable: 503,
} as const satisfies Record<ErrorCode, number>;

/** A refusal the client is told of; the message is one short sentence that says what to do. */
export class ApiError extends Error {
  override name = 'ApiError';
  readonly code: ErrorCode;
  readonly status: number;
  readonly details: unknown;
  readonly retryAfterSeconds: number | undefined;

  constructor(
    code: ErrorCode,
    message: string,
    options: { details?: unknown; retryAfterSeconds?: number; cause?: unknown } = {},
  ) {
    super(message, { cause: options.cause });
    this.code = code;
    this.status = statusOf[code];
    this.details = options.details;
    this.retryAfterSeconds = options.retryAfterSeconds;
  }
}

/** Clients show 300 characters: the first wrong field is in the sentence, all of them in details. */
export function validationFailed(issues: readonly FieldIssue[]): ApiError {
  const [first, ...others] = issues;
  const more = others.length === 0 ? '' : ` (and ${others.length} more, see details)`;
  const hint = first?.hint === undefined ? '' : ` (${first.hint})`;
  const sentence =
    first === undefined
      ? 'The request is not valid.'
      : `${first.path}: expected ${first.expected}${hint}${more}.`;
  return new ApiError('validation_failed', sentence, { details: issues });
}

export function notFound(what: string): ApiError {
  return new ApiError('not_found', `There is no ${what} with this id in your account.`);
}

export function nonceReused(): ApiError {
  return new ApiError(
    'nonce_reused',
    'This nonce was used before: sign every request, also a retry, with a fresh X-Nonce.',
  );
}

/** Any failure as the error the client sees; what is not foreseen tells nothing of the inside. */
export function toApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  const { statusCode, code } = fastifyFields(error);
  if (error instanceof DatabaseFull || code === 'ENOSPC') {
    return new ApiError(
      'unavailable',
      "The server's disk is full and nothing was stored; repeat the request when its operator has freed space.",
      { retryAfterSeconds: 10, cause: error },
    );
  }
  if (error instanceof DatabaseUnavailable) {
    return new ApiError('unavailable', 'The database cannot be reached right now; repeat the request.', {
      retryAfterSeconds: 1,
      cause: error,
    });
  }
  if (code === 'FST_ERR_CTP_BODY_TOO_LARGE') {
    return new ApiError('payload_too_large', `The body is larger than ${maxBodyBytes} bytes.`, {
      cause: error,
    });
  }
  if (code === 'FST_ERR_CTP_INVALID_MEDIA_TYPE') return unsupportedMediaType();
  if (statusCode !== undefined && statusCode >= 400 && statusCode < 500) {
    return new ApiError(
      'validation_failed',
      'The request cannot be read: check its URL, headers and Content-Length.',
      { cause: error },
    );
  }
  return new ApiError(
    'internal_error',
    'Something went wrong on our side; the request id finds it in the log.',
    { cause: error },
  );
}

export function unsupportedMediaType(message = 'Send JSON: Content-Type application/json.'): ApiError {
  return new ApiError('unsupported_media_type', message);
}

/** Larger bodies are refused before they are read whole. */
export const maxBodyBytes = 1024 * 1024;

export function toErrorBody(error: ApiError, requestId: string): ErrorBody {
  const { code, message, details } = error;
  return { error: { code, message, ...(details === undefined ? {} : { details }), request_id: requestId } };
}

function fastifyFields(error: unknown): { statusCode?: number; code?: string } {
  if (typeof error !== 'object' || error === null) return {};
  const { statusCode, code } = error as { statusCode?: unknown; code?: unknown };
  return {
    ...(typeof statusCode === 'number' ? { statusCode } : {}),
    ...(typeof code === 'string' ? { code } : {}),
  };
}
