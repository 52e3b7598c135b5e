// Reads a request body: raw bytes for the signature, and JSON with what no JSON parser refuses: depth, NUL, half surrogates.
import { jsonDepthExceeds } from '../domain/canonical-json.ts';
import { maxBodyDepth } from '../domain/canonical-request.ts';
import { ApiError, unsupportedMediaType, validationFailed } from './errors.ts';

export interface RawBody {
  bytes: Buffer;
  /** undefined when the body is empty or not JSON; `problem` then says which. */
  value: unknown;
  problem: ApiError | null;
}

const utf8 = new TextDecoder('utf-8', { fatal: true });

/** Never throws: the signature is judged first, on the bytes. */
export function readBody(bytes: Buffer, contentType: string | undefined): RawBody {
  if (bytes.length === 0) return { bytes, value: undefined, problem: null };
  const fail = (problem: ApiError): RawBody => ({ bytes, value: undefined, problem });
  if (!/^application\/([\w.-]+\+)?json\s*(;|$)/i.test(contentType ?? '')) return fail(unsupportedMediaType());
  if (jsonDepthExceeds(bytes, maxBodyDepth)) {
    return fail(validationFailed([{ path: 'body', expected: `JSON nested at most ${maxBodyDepth} deep` }]));
  }
  try {
    const value: unknown = JSON.parse(utf8.decode(bytes));
    const path = unstorableText(value, '');
    if (path === null) return { bytes, value, problem: null };
    return {
      bytes,
      value,
      problem: validationFailed([{ path: path || 'body', expected: 'text without NUL and half surrogates' }]),
    };
  } catch (error) {
    const cause = error instanceof Error ? error.message : String(error);
    const expected =
      error instanceof TypeError ? 'JSON in UTF-8' : `well-formed JSON (${cause.slice(0, 120)})`;
    return fail(
      new ApiError('validation_failed', `body: expected ${expected}.`, {
        details: [{ path: 'body', expected }],
        cause: error,
      }),
    );
  }
}

/** Path of the first text that PostgreSQL cannot store, or null. */
function unstorableText(value: unknown, path: string): string | null {
  if (typeof value === 'string') return isStorable(value) ? null : path;
  if (typeof value !== 'object' || value === null) return null;
  for (const [key, item] of Object.entries(value)) {
    const place = Array.isArray(value) ? `${path}[${key}]` : path === '' ? key : `${path}.${key}`;
    if (!isStorable(key)) return place.replaceAll('\0', '\\0').toWellFormed();
    const found = unstorableText(item, place);
    if (found !== null) return found;
  }
  return null;
}

function isStorable(text: string): boolean {
  return !text.includes('\0') && text.isWellFormed();
}
