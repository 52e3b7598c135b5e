// Rebuilds the query string of a request target in the sorted and encoded forms that clients sign.

export type QueryForm = 'rfc3986' | 'python' | 'whatwg';

/** Key and value as byte strings: one character (0 to 255) for each byte, so invalid UTF-8 survives unchanged. */
type Pair = { key: string; value: string };
type Encode = (bytes: string) => string;
type Compare = (a: Pair, b: Pair) => number;

const alphanumeric = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';
const encoders: Record<QueryForm, Encode> = {
  rfc3986: encoderFor({ unescaped: `${alphanumeric}-._~`, space: '%20' }),
  python: encoderFor({ unescaped: `${alphanumeric}-._~`, space: '+' }),
  whatwg: encoderFor({ unescaped: `${alphanumeric}-._*`, space: '+' }),
};
const forms: QueryForm[] = ['rfc3986', 'python', 'whatwg'];

// Clients sort before or after encoding, by code point (Python, Elixir) or UTF-16 unit (JavaScript), some the keys alone.
const documentedOrder = byKeyThenValue(compareBytes);
const orders: ((encode: Encode) => Compare)[] = [
  () => documentedOrder,
  (encode) => byKeyThenValue((a, b) => compareBytes(encode(a), encode(b))),
  () => byKeyThenValue(compareAsUtf16),
  () => (a, b) => compareBytes(a.key, b.key),
];

// Nobody sends this many by hand; beyond it only the documented order is tried, so a hostile query stays cheap.
const maxReorderedPairs = 100;

/** The documented form: sorted by key, then value, then encoded. `rawQuery` is without `?`, as node:http delivers it. */
export function canonicalQuery(rawQuery: string, form: QueryForm = 'rfc3986'): string {
  return joinSorted(parsePairs(rawQuery), encoders[form], documentedOrder);
}

/** Every form a client may have signed, the likeliest first, each once. Never throws, whatever the query holds. */
export function* canonicalQueries(rawQuery: string): Generator<string, void, undefined> {
  if (rawQuery === '') return yield '';
  const pairs = parsePairs(rawQuery);
  const first = joinSorted(pairs, encoders.rfc3986, documentedOrder);
  yield first;
  const seen = new Set([first]);
  for (const order of pairs.length > maxReorderedPairs ? [() => documentedOrder] : orders) {
    for (const form of forms) {
      const query = joinSorted(pairs, encoders[form], order(encoders[form]));
      if (!seen.has(query)) yield query;
      seen.add(query);
    }
  }
}

/** Percent-encodes text for use as one key or value of a query; lone surrogates become U+FFFD. */
export function encodeQueryComponent(text: string): string {
  return encoders.rfc3986(utf8ByteString(text));
}

function joinSorted(pairs: Pair[], encode: Encode, compare: Compare): string {
  let joined = '';
  for (const pair of pairs.length > 1 ? pairs.toSorted(compare) : pairs) {
    joined += `${joined === '' ? '' : '&'}${encode(pair.key)}=${encode(pair.value)}`;
  }
  return joined;
}

function parsePairs(rawQuery: string): Pair[] {
  const bytes = isByteString(rawQuery) ? rawQuery : utf8ByteString(rawQuery);
  const pairs: Pair[] = [];
  for (const segment of bytes.split('&')) {
    if (segment === '') continue;
    const equals = segment.indexOf('=');
    const keyEnd = equals < 0 ? segment.length : equals;
    pairs.push({ key: decode(segment.slice(0, keyEnd)), value: decode(segment.slice(keyEnd + 1)) });
  }
  return pairs;
}

// A percent sign without two hex digits stands for itself, as in URLSearchParams and in Python.
function decode(text: string): string {
  const spaced = text.includes('+') ? text.replaceAll('+', ' ') : text;
  let decoded = '';
  let copied = 0;
  for (let at = spaced.indexOf('%'); at >= 0; at = spaced.indexOf('%', at + 1)) {
    const high = hexDigit(spaced.charCodeAt(at + 1));
    const low = hexDigit(spaced.charCodeAt(at + 2));
    if (high < 0 || low < 0) continue;
    decoded += spaced.slice(copied, at) + String.fromCharCode(high * 16 + low);
    copied = at + 3;
  }
  return copied === 0 ? spaced : decoded + spaced.slice(copied);
}

/** The value of a hex digit's character code, -1 for anything else. */
function hexDigit(code: number): number {
  if (code >= 0x30 && code <= 0x39) return code - 0x30;
  const lowerCase = code | 0x20;
  return lowerCase >= 0x61 && lowerCase <= 0x66 ? lowerCase - 0x57 : -1;
}

function encoderFor(rule: { unescaped: string; space: string }): Encode {
  const table = Array.from({ length: 256 }, (_, byte) => {
    const character = String.fromCharCode(byte);
    if (character === ' ') return rule.space;
    if (rule.unescaped.includes(character)) return character;
    return `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  });
  return (bytes) => {
    if (/^[\w.-]*$/.test(bytes)) return bytes;
    let encoded = '';
    for (let at = 0; at < bytes.length; at += 1) encoded += table[bytes.charCodeAt(at)];
    return encoded;
  };
}

function byKeyThenValue(compare: (a: string, b: string) => number): Compare {
  return (a, b) => compare(a.key, b.key) || compare(a.value, b.value);
}

/** Byte order of UTF-8 is code point order. */
function compareBytes(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

/** In UTF-16, characters beyond U+FFFF (lead byte F0 and up) come before U+E000 to U+FFFF (lead bytes EE and EF). */
function compareAsUtf16(a: string, b: string): number {
  let at = 0;
  while (at < a.length && at < b.length && a[at] === b[at]) at += 1;
  if (at === a.length || at === b.length) return a.length - b.length;
  return utf16Rank(a.charCodeAt(at)) - utf16Rank(b.charCodeAt(at));
}

function utf16Rank(byte: number): number {
  return byte === 0xee || byte === 0xef ? byte + 0x20 : byte;
}

function isByteString(text: string): boolean {
  for (let at = 0; at < text.length; at += 1) if (text.charCodeAt(at) > 0xff) return false;
  return true;
}

function utf8ByteString(text: string): string {
  let bytes = '';
  for (const byte of new TextEncoder().encode(text)) bytes += String.fromCharCode(byte);
  return bytes;
}
