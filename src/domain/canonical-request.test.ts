// Tests of the canonical string and of which candidates are tried, with readable hashes in place of SHA-256.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type CanonicalRequest, canonicalCandidates, preferredCanonical } from './canonical-request.ts';

const emptyHash = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';
const readable = {
  sha256Hex: (content: Uint8Array | string) =>
    `<${typeof content === 'string' ? content : Buffer.from(content)}>`,
};

function aRequest(given: Partial<CanonicalRequest> & { text?: string }): CanonicalRequest {
  const { text = '', ...parts } = given;
  const basic = {
    publicKey: 'pk',
    timeMs: '17',
    nonce: 'n0',
    method: 'get',
    pathname: '/v1/jobs',
    rawQuery: '',
  };
  const parsedBody: unknown = text === '' ? undefined : JSON.parse(text);
  return { ...basic, body: Buffer.from(text), parsedBody, ...parts };
}

const candidates = (request: CanonicalRequest) => [...canonicalCandidates(request, readable)];

test('a plain GET has one candidate with the hash of nothing', () => {
  assert.deepEqual(candidates(aRequest({})), [`pk|17|n0|GET|/v1/jobs||${emptyHash}`]);
});

test('a body that is canonical already has one candidate', () => {
  assert.deepEqual(candidates(aRequest({ method: 'POST', text: '{"a":1}' })), [
    'pk|17|n0|POST|/v1/jobs||<{"a":1}>',
  ]);
});

test('raw bytes come first, then canonical ASCII, then canonical UTF-8', () => {
  const request = aRequest({ method: 'PUT', text: '{"b":"é", "a":1}' });
  const bodies = candidates(request).map((candidate) => candidate.split('||')[1]);
  assert.deepEqual(bodies, ['<{"b":"é", "a":1}>', '<{"a":1,"b":"\\u00e9"}>', '<{"a":1,"b":"é"}>']);
});

test('every body form is tried with every query form', () => {
  const request = aRequest({ rawQuery: 'x=a b~*', text: '{"b":"é", "a":1}' });
  assert.equal(new Set(candidates(request)).size, 9);
});

test('candidates are computed only when asked for', () => {
  const hashed: (Uint8Array | string)[] = [];
  const counting = { sha256Hex: (content: Uint8Array | string) => String(hashed.push(content)) };
  canonicalCandidates(aRequest({ text: '{"b":"é", "a":1}' }), counting).next();
  assert.equal(hashed.length, 1);
});

test('a body that is not JSON is taken as it is', () => {
  const request = aRequest({ body: Buffer.from('a=1'), parsedBody: undefined });
  assert.deepEqual(candidates(request), ['pk|17|n0|GET|/v1/jobs||<a=1>']);
  assert.equal(preferredCanonical(request, readable), 'pk|17|n0|GET|/v1/jobs||<a=1>');
});

test('a body nested too deep is never walked', () => {
  const text = '['.repeat(65) + ']'.repeat(65);
  assert.equal(candidates(aRequest({ text })).length, 1);
  assert.equal(preferredCanonical(aRequest({ text }), readable).endsWith(`<${text}>`), true);
});

test('the preferred string is the RFC 3986 query with canonical ASCII JSON', () => {
  const request = aRequest({ method: 'post', rawQuery: 'b=x+y&a=~', text: '{"b":"é", "a":1}' });
  assert.equal(
    preferredCanonical(request, readable),
    'pk|17|n0|POST|/v1/jobs|a=~&b=x%20y|<{"a":1,"b":"\\u00e9"}>',
  );
});
