// Request bodies: bytes are kept for the signature whatever they hold, and only what can be stored passes.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { maxBodyDepth } from '../domain/canonical-request.ts';
import { readBody } from './body.ts';

const json = 'application/json';
const read = (text: string, type: string | undefined = json) => readBody(Buffer.from(text), type);
const problemOf = (text: string) => read(text).problem?.message ?? '';

test('any JSON value comes back as it was', () => {
  const storable = fc.jsonValue().filter((value) => !/\\u0000|\\ud[89a-f]/.test(JSON.stringify(value)));
  fc.assert(
    fc.property(storable, (value) => {
      const body = read(JSON.stringify(value));
      assert.equal(body.problem, null);
      assert.equal(JSON.stringify(body.value), JSON.stringify(value));
    }),
  );
});

test('no bytes are an empty body, whatever the content type says', () => {
  for (const type of [json, undefined, 'text/plain']) {
    assert.deepEqual(readBody(Buffer.alloc(0), type).problem, null);
  }
});

test('JSON is told by its content type', () => {
  for (const type of [
    json,
    'application/json; charset=utf-8',
    'APPLICATION/JSON',
    'application/merge-patch+json',
  ])
    assert.equal(read('{}', type).problem, null, type);
  for (const type of ['text/plain', 'application/jsonp', 'application/x-www-form-urlencoded', ''])
    assert.equal(read('{}', type).problem?.status, 415, type);
  assert.equal(readBody(Buffer.from('{}'), undefined).problem?.status, 415);
});

test('broken JSON and broken UTF-8 are told apart', () => {
  assert.match(problemOf('{"a":'), /well-formed JSON/);
  assert.match(readBody(Buffer.from([0x22, 0xff, 0x22]), json).problem?.message ?? '', /JSON in UTF-8/);
  assert.equal(read('{"a":').problem?.status, 400);
});

test('NUL and half surrogates are refused with their path, in keys and values', () => {
  assert.match(problemOf('{"a":{"b":["x","\\u0000"]}}'), /^a\.b\[1\]: /);
  assert.match(problemOf('{"a":"\\ud800"}'), /^a: /);
  assert.match(problemOf('{"a\\u0000":1}'), /^a\\0: /);
  assert.match(problemOf('"\\u0000"'), /^body: /);
});

test('nesting is limited before anything recurses', () => {
  const nested = (depth: number) => '['.repeat(depth) + ']'.repeat(depth);
  assert.equal(read(nested(maxBodyDepth)).problem, null);
  assert.match(problemOf(nested(maxBodyDepth + 1)), /nested at most/);
  assert.match(problemOf('['.repeat(1_000_000)), /nested at most/);
});

test('any bytes are kept for the signature and never throw', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
      const buffer = Buffer.from(bytes);
      const body = readBody(buffer, json);
      assert.equal(body.bytes, buffer);
      if (body.problem !== null) assert.ok(body.problem.status >= 400 && body.problem.status < 500);
    }),
  );
});
