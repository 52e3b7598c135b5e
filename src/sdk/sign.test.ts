// Tests of signing against the reference's vectors.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encodeBody, signRequest } from './sign.ts';

const key = { publicKey: 'pk_test', secretKey: 'sk_test' };
const edge = { timeMs: 1706918400000, nonce: '0'.repeat(32) };
const signatureOf = (request: { method: string; path: string; body?: string }) =>
  signRequest({ key, ...edge, ...request })['X-Signature'];

test('signs path, sorted query and body', () => {
  assert.deepEqual(signRequest({ key, ...edge, method: 'POST', path: '/v1/jobs?b=2&a=1', body: '{"z":1}' }), {
    'X-API-Key': 'pk_test',
    'X-Time': '1706918400000',
    'X-Nonce': '0'.repeat(32),
    'X-Signature': 'e8102b11e024a39d0982552c43878b8d41147b2caa74c615f4f710222d28f382',
  });
});

test('signs a query in RFC 3986 form', () => {
  assert.equal(
    signatureOf({ method: 'GET', path: '/v1/jobs?limit=20&x=a%20b~*&filter[status]=PENDING,RUNNING' }),
    '6ff5d59976b1ca7f574d30e79124b7c9c6cf53bc4fdad4d362df7cb88296ab36',
  );
});

test('an encoded body signs as the ASCII form of the reference', () => {
  assert.equal(
    signatureOf({ method: 'POST', path: '/v1/jobs', body: encodeBody({ title: 'Rendu café' }) }),
    'c1e1d01c48300e7231b0c09dbf4d77436fba8aa78bf383b85ba1ee10d32469b4',
  );
});

test('time and nonce are fresh when not given', () => {
  const before = Date.now();
  const first = signRequest({ key, method: 'GET', path: '/v1/jobs' });
  const second = signRequest({ key, method: 'GET', path: '/v1/jobs' });
  assert.match(first['X-Nonce'] ?? '', /^[0-9a-f]{32}$/);
  assert.notEqual(first['X-Nonce'], second['X-Nonce']);
  assert.ok(Number(first['X-Time']) >= before && Number(first['X-Time']) <= Date.now());
});

test('a body is encoded as JSON carries it: no undefined, dates as text, keys sorted', () => {
  const body = { b: undefined, c: new Date(0), a: [undefined, 'é'] };
  assert.equal(encodeBody(body), '{"a":[null,"\\u00e9"],"c":"1970-01-01T00:00:00.000Z"}');
});
