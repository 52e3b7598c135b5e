// Signs requests: canonical string, HMAC-SHA256 and the four headers that carry them.
import { createHmac, hash, randomBytes } from 'node:crypto';
import { canonicalJson, escapeNonAscii } from '../domain/canonical-json.ts';
import { preferredCanonical } from '../domain/canonical-request.ts';

/** `token`: an access token, whose claim hmac_key is then both keys. */
export type SigningKey = { publicKey: string; secretKey: string; token?: string };

export type RequestToSign = {
  key: SigningKey;
  method: string;
  /** Path and query exactly as they stand on the request line. */
  path: string;
  /** The very text that is sent; absent means none. */
  body?: string | undefined;
  /** Lower-case hex over a body that is not at hand, in the place of `body`. */
  bodySha256?: string;
  /** Epoch milliseconds; now when absent. */
  timeMs?: number;
  /** 32 hex digits, new for every request; random when absent. */
  nonce?: string;
};

const hashes = { sha256Hex: (content: Uint8Array | string) => hash('sha256', content, 'hex') };

/** The headers that make a request acceptable to the server, once and for five minutes. */
export function signRequest(request: RequestToSign): Record<string, string> {
  const { key, method, path, body = '', timeMs = Date.now(), nonce = randomNonce() } = request;
  const [pathname = '', rawQuery = ''] = splitOnce(path, '?');
  const canonical = preferredCanonical(
    {
      publicKey: key.publicKey,
      timeMs: String(timeMs),
      nonce,
      method,
      pathname,
      rawQuery,
      body: Buffer.from(body),
      parsedBody: undefined,
      ...(request.bodySha256 === undefined ? {} : { bodySha256: request.bodySha256 }),
    },
    hashes,
  );
  return {
    ...(key.token === undefined ? { 'X-API-Key': key.publicKey } : { Authorization: `Bearer ${key.token}` }),
    'X-Time': String(timeMs),
    'X-Nonce': nonce,
    'X-Signature': createHmac('sha256', key.secretKey).update(canonical).digest('hex'),
  };
}

/** JSON as it should be sent: its bytes are the canonical form, so every server computes the same hash. */
export function encodeBody(body: unknown): string {
  return escapeNonAscii(canonicalJson(JSON.parse(JSON.stringify(body))));
}

function randomNonce(): string {
  return randomBytes(16).toString('hex');
}

function splitOnce(text: string, separator: string): [string, string] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + 1)];
}
