// Tests of signature verification: the reference's vectors, every client variant in the field, and every forgery.
import assert from 'node:assert/strict';
import { createHash, createHmac } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { type SignedRequest, verifySignature } from './signature.ts';

const key = { publicKey: 'pk_test', secret: 'sk_test' };
const jobsPath = '/v1/jobs';
const cancelPath = '/v1/jobs/3c90c3cc-0d44-4b50-8888-8dd25736052a/cancel';
const mixedQuery = 'limit=20&x=a%20b~*&filter[status]=PENDING,RUNNING';

type Given = Partial<SignedRequest> & { text?: string };

function aRequest({ text = '', ...given }: Given): SignedRequest {
  const edge = {
    timeMs: '1706918400000',
    nonce: '0'.repeat(32),
    method: 'POST',
    pathname: jobsPath,
    rawQuery: '',
  };
  return { ...key, ...edge, body: Buffer.from(text), parsedBody: parsed(text), signature: '', ...given };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const vectors: { name: string; signature: string; request: Given }[] = [
  {
    name: 'POST with query and body',
    signature: 'e8102b11e024a39d0982552c43878b8d41147b2caa74c615f4f710222d28f382',
    request: { rawQuery: 'b=2&a=1', text: '{"z":1}' },
  },
  {
    name: 'GET, RFC 3986 query',
    signature: '6ff5d59976b1ca7f574d30e79124b7c9c6cf53bc4fdad4d362df7cb88296ab36',
    request: { method: 'GET', rawQuery: mixedQuery },
  },
  {
    name: 'GET, Python form query',
    signature: 'ec4101e20080246b44a10db5713240514e64431a73d7afcb211b4b5bb8f62220',
    request: { method: 'GET', rawQuery: mixedQuery },
  },
  {
    name: 'POST, ASCII-escaped body',
    signature: 'c1e1d01c48300e7231b0c09dbf4d77436fba8aa78bf383b85ba1ee10d32469b4',
    request: { text: '{"title": "Rendu café"}' },
  },
  {
    name: 'POST, raw UTF-8 body',
    signature: 'dea47fdd504494c866af2cdde0c703ef916528a286ab9d52ca061733d6a2cd43',
    request: { text: '{"title": "Rendu caf\\u00e9"}' },
  },
  {
    name: 'PUT cancel',
    signature: 'c875bc08a9ae860d50a53b393ade3570470a846fb10c00891eb342c043ddec36',
    request: { method: 'PUT', pathname: cancelPath, text: '{"reason":"Cancelled by user"}' },
  },
];

for (const { name, signature, request } of vectors) {
  test(`accepts the reference's vector: ${name}`, () => {
    assert.deepEqual(verifySignature(aRequest({ ...request, signature })), { ok: true });
    assert.deepEqual(verifySignature(aRequest({ ...request, signature: signature.toUpperCase() })), {
      ok: true,
    });
    assert.equal(verifySignature(aRequest({ ...request, signature, secret: 'sk_other' })).ok, false);
  });
}

test('a refusal shows the canonical string the server expected, never the secret', () => {
  const request = aRequest({
    rawQuery: 'b=x+y&a=1',
    text: '{"title": "Rendu café"}',
    signature: '0'.repeat(64),
  });
  const bodyHash = sha256('{"title":"Rendu caf\\u00e9"}');
  const canonical = `pk_test|1706918400000|${'0'.repeat(32)}|POST|/v1/jobs|a=1&b=x%20y|${bodyHash}`;
  assert.deepEqual(verifySignature(request), { ok: false, canonical });
});

test('a signature that is not 64 hex digits is refused without a throw', () => {
  for (const signature of ['', 'zz', 'é'.repeat(64), 'a'.repeat(63), 'a'.repeat(65), `${'a'.repeat(64)}\n`]) {
    assert.equal(verifySignature(aRequest({ signature })).ok, false);
  }
});

test('a separator inside a header cannot shift the fields', () => {
  const fields = ['pk_test', '17', 'n0|POST', '/x|POST|/v1/jobs', '', sha256('')];
  const signature = hmac(fields.join('|'));
  const shifted = aRequest({ timeMs: '17', nonce: 'n0|POST|/x', pathname: jobsPath, signature });
  assert.equal(verifySignature(shifted).ok, false);
});

// What clients in the field do, written a second time and in another way than the code under test.
type Pairs = [string, string][];
type Variant = { name: string; query: (pairs: Pairs) => string; body: (value: unknown) => string };

const quote = (text: string) =>
  encodeURIComponent(text).replace(/[!'()*]/g, (sign) => `%${sign.charCodeAt(0).toString(16).toUpperCase()}`);
const quotePlus = (text: string) => quote(text).replaceAll('%20', '+');
const whatwg = (text: string) => new URLSearchParams([['', text]]).toString().slice(1);
const byBytes = (a: string, b: string) => Buffer.compare(Buffer.from(a), Buffer.from(b));
const byUnits = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0);
const joined = (pairs: Pairs) => pairs.map(([name, value]) => `${name}=${value}`).join('&');
const encodedWith = (encode: (text: string) => string, pairs: Pairs) =>
  pairs.map(([name, value]): [string, string] => [encode(name), encode(value)]);
const sortedBy = (compare: (a: string, b: string) => number, pairs: Pairs) =>
  pairs.toSorted(([a, x], [b, y]) => compare(a, b) || compare(x, y));

const variants: Variant[] = [
  {
    name: 'V1 (keys sorted, values in the order given)',
    query: (pairs) =>
      joined(
        encodedWith(
          quotePlus,
          pairs.toSorted(([a], [b]) => byBytes(a, b)),
        ),
      ),
    body: (value) => ascii(dumped(value)),
  },
  {
    name: 'V1b',
    query: (pairs) => joined(encodedWith(quotePlus, sortedBy(byBytes, pairs))),
    body: (value) => ascii(dumped(value)),
  },
  {
    name: 'V2',
    query: (pairs) => joined(encodedWith(quote, sortedBy(byBytes, pairs))),
    body: (value) => ascii(dumped(value)),
  },
  {
    name: 'V3 (sorted after encoding)',
    query: (pairs) => joined(sortedBy(byBytes, encodedWith(quote, pairs))),
    body: dumped,
  },
  { name: 'V4', query: () => '', body: dumped },
  { name: 'V5', query: (pairs) => joined(encodedWith(quote, sortedBy(byBytes, pairs))), body: dumped },
  {
    name: 'WHATWG',
    query: (pairs) => joined(encodedWith(whatwg, sortedBy(byUnits, pairs))),
    body: dumped,
  },
];

function dumped(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(dumped).join()}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const members = new Map(Object.entries(value));
  const names = [...members.keys()].sort(byBytes);
  return `{${names.map((name) => `${JSON.stringify(name)}:${dumped(members.get(name))}`).join()}}`;
}

function ascii(json: string): string {
  const units = json.split('');
  return units
    .map((unit) =>
      unit > '~' ? `\\u${Buffer.from(unit, 'utf16le').readUInt16LE().toString(16).padStart(4, '0')}` : unit,
    )
    .join('');
}

const sha256 = (text: string) => createHash('sha256').update(text, 'utf8').digest('hex');
const hmac = (canonical: string) => createHmac('sha256', key.secret).update(canonical).digest('hex');

const word = fc.string({ unit: 'binary', maxLength: 6 });
const oddWord = fc.string({ unit: fc.constantFrom(..." ~*!'()[],+&=%aBé\ue000\u{1f680}"), maxLength: 6 });
const pairLists = fc.array(fc.tuple(fc.oneof(word, oddWord), fc.oneof(word, oddWord)), { maxLength: 5 });
const wireQueries = [quote, quotePlus, whatwg];
const wireBodies = [
  (value: unknown) => JSON.stringify(value),
  (value: unknown) => JSON.stringify(value, null, 2),
];

const signedRequests = fc
  .record({
    variant: fc.constantFrom(...variants),
    pairs: pairLists,
    value: fc.option(fc.jsonValue({ stringUnit: 'binary', maxDepth: 3 }), { nil: undefined }),
    encode: fc.constantFrom(...wireQueries),
    write: fc.option(fc.constantFrom(...wireBodies), { nil: undefined }),
    method: fc.constantFrom('GET', 'POST', 'PUT', 'DELETE'),
    nonce: fc.string({ unit: fc.constantFrom(...'0123456789abcdef'), minLength: 32, maxLength: 32 }),
  })
  .map(({ variant, pairs, value, encode, write = variant.body, method, nonce }) => {
    const sent = variant.name === 'V4' ? [] : pairs;
    const wire = value === undefined ? '' : write(value);
    // The client signs what it will send, so -0 and the like are as JSON carries them.
    const signedBody = value === undefined ? '' : variant.body(JSON.parse(wire));
    const timeMs = '1706918400000';
    const canonical = [
      key.publicKey,
      timeMs,
      nonce,
      method,
      jobsPath,
      variant.query(sent),
      sha256(signedBody),
    ];
    const rawQuery = joined(encodedWith(encode, sent));
    return aRequest({ method, nonce, rawQuery, text: wire, signature: hmac(canonical.join('|')) });
  });

test('accepts random requests as each client variant signs and sends them', () => {
  fc.assert(
    fc.property(signedRequests, (request) => assert.deepEqual(verifySignature(request), { ok: true })),
    { numRuns: 1000 },
  );
});

test('refuses any change of method, path, time, nonce, key, secret or signature', () => {
  const fields = ['method', 'pathname', 'timeMs', 'nonce', 'publicKey', 'secret', 'signature'] as const;
  fc.assert(
    fc.property(signedRequests, fc.constantFrom(...fields), fc.nat(), fc.nat(), (request, field, at, by) => {
      const changed = { ...request, [field]: withOneCharacterChanged(request[field], at, by) };
      assert.equal(verifySignature(changed).ok, false);
    }),
  );
});

test('refuses any change of the body, unless the server would read the same value from it', () => {
  fc.assert(
    fc.property(signedRequests, fc.nat(), fc.integer({ min: 1, max: 255 }), (request, at, mask) => {
      const body = Buffer.concat([request.body, Buffer.from(request.body.length === 0 ? '\0' : '')]);
      body.writeUInt8(body.readUInt8(at % body.length) ^ mask, at % body.length);
      const changed = { ...request, body, parsedBody: parsed(body.toString()) };
      if (verifySignature(changed).ok) assert.deepEqual(changed.parsedBody, request.parsedBody);
    }),
    { numRuns: 1000 },
  );
});

test('refuses any change of the query, unless the server would read the same pairs from it', () => {
  const pairsOf = (rawQuery: string) => JSON.stringify([...new URLSearchParams(rawQuery)].map(String).sort());
  fc.assert(
    fc.property(signedRequests, fc.nat(), fc.nat(), (request, at, by) => {
      const rawQuery = withOneCharacterChanged(request.rawQuery || 'a', at, by);
      if (verifySignature({ ...request, rawQuery }).ok)
        assert.equal(pairsOf(rawQuery), pairsOf(request.rawQuery));
      const added = request.rawQuery === '' ? 'a=' : `${request.rawQuery}0`;
      assert.equal(verifySignature({ ...request, rawQuery: added }).ok, false);
    }),
    { numRuns: 1000 },
  );
});

function withOneCharacterChanged(text: string, at: number, by: number): string {
  const place = at % text.length;
  // Not the case bit alone: methods and signatures are the same in either case.
  const others = [...'0123456789/|.XyZ'].filter(
    (sign) => sign.toLowerCase() !== text.charAt(place).toLowerCase(),
  );
  return text.slice(0, place) + others[by % others.length] + text.slice(place + 1);
}
