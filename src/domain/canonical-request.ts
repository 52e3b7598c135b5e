// Builds the canonical string of a request, the text that its signature covers.
import { canonicalJson, escapeNonAscii, jsonDepthExceeds } from './canonical-json.ts';
import { canonicalQueries, canonicalQuery } from './canonical-query.ts';

/** Deeper bodies are refused before anything recurses into them. */
export const maxBodyDepth = 64;

/** What a signature covers. `timeMs` is the header's text; `parsedBody` is undefined when the body is not JSON. */
export type CanonicalRequest = {
  publicKey: string;
  timeMs: string;
  nonce: string;
  method: string;
  pathname: string;
  rawQuery: string;
  body: Uint8Array;
  parsedBody: unknown;
  /** Hash of a body too large to be at hand; it is used in place of `body`. */
  bodySha256?: string;
};

/** Hash functions are passed in, so that this folder needs no crypto. Text is hashed as UTF-8, answers are lower-case hex. */
export type Hashes = { sha256Hex: (content: Uint8Array | string) => string };

const sha256OfNothing = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';

/**
 * Every canonical string that a client may have signed for this request, the likeliest first and computed only when
 * asked for: three query encodings by three body forms, equal ones once. Each covers the content that was received.
 */
export function* canonicalCandidates(
  request: CanonicalRequest,
  hashes: Hashes,
): Generator<string, void, undefined> {
  for (const bodyHash of bodyHashes(request, hashes)) {
    for (const query of canonicalQueries(request.rawQuery)) {
      yield canonicalString(request, { query, bodyHash });
    }
  }
}

/** The canonical string a client should sign: RFC 3986 query, canonical JSON in ASCII (other bodies: as they are). */
export function preferredCanonical(request: CanonicalRequest, hashes: Hashes): string {
  const canonical = canonicalBody(request);
  const bodyHash =
    canonical === undefined
      ? (request.bodySha256 ?? rawHash(request.body, hashes))
      : hashes.sha256Hex(escapeNonAscii(canonical));
  return canonicalString(request, { query: canonicalQuery(request.rawQuery), bodyHash });
}

function canonicalString(request: CanonicalRequest, part: { query: string; bodyHash: string }): string {
  const { publicKey, timeMs, nonce, method, pathname } = request;
  return `${publicKey}|${timeMs}|${nonce}|${method.toUpperCase()}|${pathname}|${part.query}|${part.bodyHash}`;
}

function* bodyHashes(request: CanonicalRequest, hashes: Hashes): Generator<string, void, undefined> {
  if (request.bodySha256 !== undefined) {
    yield request.bodySha256;
    return;
  }
  const raw = rawHash(request.body, hashes);
  yield raw;
  const canonical = canonicalBody(request);
  if (canonical === undefined) return;
  const escaped = escapeNonAscii(canonical);
  const ascii = hashes.sha256Hex(escaped);
  if (ascii !== raw) yield ascii;
  if (escaped === canonical) return;
  const unescaped = hashes.sha256Hex(canonical);
  if (unescaped !== raw) yield unescaped;
}

function rawHash(body: Uint8Array, hashes: Hashes): string {
  return body.length === 0 ? sha256OfNothing : hashes.sha256Hex(body);
}

function canonicalBody(request: CanonicalRequest): string | undefined {
  const { body, parsedBody } = request;
  if (parsedBody === undefined || body.length === 0 || jsonDepthExceeds(body, maxBodyDepth)) return undefined;
  return canonicalJson(parsedBody);
}
