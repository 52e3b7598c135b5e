// Reads a request body: raw bytes for the signature, and JSON with what no JSON parser refuses: depth, NUL, half surrogates.
import { isAscii } from 'node:buffer';
import type { FastifyRequest } from 'fastify';
import { jsonDepthExceeds } from '../domain/canonical-json.ts';
import { maxBodyDepth } from '../domain/canonical-request.ts';
import { ApiError, unsupportedMediaType, validationFailed } from './errors.ts';
import type { SpooledBody } from './spool.ts';

export interface RawBody {
  bytes: Buffer;
  /** undefined when the body is empty or not JSON; `problem` then says which. */
  value: unknown;
  problem: ApiError | null;
  /** A body that went to disk instead; `bytes` is empty then. */
  spooled: SpooledBody | null;
}

export const noBody: RawBody = { bytes: Buffer.alloc(0), value: undefined, problem: null, spooled: null };

/** The body as the server's parser left it on the request. */
export function rawBodyOf(request: FastifyRequest): RawBody {
  const { rawBody, body } = request as FastifyRequest & { rawBody?: RawBody };
  // Where no route took it, it is still where the parser put it.
  return rawBody ?? (body as RawBody | undefined | null) ?? noBody;
}

/** Of a request that nobody signs: what the route then checks. */
export function unsignedBody(request: FastifyRequest): unknown {
  const { problem, value } = rawBodyOf(request);
  if (problem !== null) throw problem;
  return value;
}

export function spooledBody(spooled: SpooledBody): RawBody {
  return { ...noBody, spooled };
}

const utf8 = new TextDecoder('utf-8', { fatal: true });

/** Never throws: the signature is judged first, on the bytes. */
export function readBody(bytes: Buffer, contentType: string | undefined): RawBody {
  if (bytes.length === 0) return { ...noBody, bytes };
  const fail = (problem: ApiError): RawBody => ({ ...noBody, bytes, problem });
  if (!/^application\/([\w.-]+\+)?json\s*(;|$)/i.test(contentType ?? '')) return fail(unsupportedMediaType());
  if (jsonDepthExceeds(bytes, maxBodyDepth)) {
    return fail(validationFailed([{ path: 'body', expected: `JSON nested at most ${maxBodyDepth} deep` }]));
  }
  try {
    const text = isAscii(bytes) ? bytes.toString('latin1') : utf8.decode(bytes);
    const value: unknown = JSON.parse(text);
    // In well-formed UTF-8 only an escape can make what PostgreSQL does not store.
    const path = text.includes('\\u') ? unstorableText(value, '') : null;
    if (path === null) return { ...noBody, bytes, value };
    return {
      ...noBody,
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
