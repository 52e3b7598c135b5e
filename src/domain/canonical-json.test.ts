// Tests of canonical JSON: key order, escapes and the depth scan.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { canonicalJson, escapeNonAscii, jsonDepthExceeds } from './canonical-json.ts';

const canonicalOf = (text: string) => canonicalJson(JSON.parse(text));

test('sorts keys at every level and leaves no spaces', () => {
  assert.equal(
    canonicalOf('{ "z": [ { "b": 1, "a": null } ], "a": true }'),
    '{"a":true,"z":[{"a":null,"b":1}]}',
  );
});

test('integer-like keys sort as text, as Python does', () => {
  assert.equal(canonicalOf('{"9":1,"10":2,"a":3}'), '{"10":2,"9":1,"a":3}');
});

test('keys sort by code point, not by UTF-16 unit', () => {
  assert.equal(canonicalOf('{"\u{1f680}":1,"\ue000":2}'), '{"\ue000":2,"\u{1f680}":1}');
  assert.equal(canonicalOf('{"\ue000":2,"\\ud83d":1}'), '{"\\ud83d":1,"\ue000":2}');
  assert.equal(canonicalOf('{"ab":1,"a":2,"":3}'), '{"":3,"a":2,"ab":1}');
});

test('a __proto__ key is a key like any other', () => {
  assert.equal(canonicalOf('{"b":1,"__proto__":{"x":1}}'), '{"__proto__":{"x":1},"b":1}');
});

test('the last of duplicate keys counts', () => {
  assert.equal(canonicalOf('{"a":1,"a":2}'), '{"a":2}');
});

test('a lone surrogate stays an escape, so it never collapses into U+FFFD', () => {
  assert.equal(canonicalOf('{"a":"\\ud800"}'), '{"a":"\\ud800"}');
  assert.equal(escapeNonAscii(canonicalOf('{"a":"\\uD800"}')), '{"a":"\\ud800"}');
});

test('a number too large for a double does not collapse into null', () => {
  assert.notEqual(canonicalOf('{"a":1e999}'), canonicalOf('{"a":null}'));
});

test('the ASCII form escapes as Python does: lower-case hex, surrogate pairs, DEL', () => {
  assert.equal(escapeNonAscii('{"a":"é\u{1f680}\u007f~"}'), '{"a":"\\u00e9\\ud83d\\ude80\\u007f~"}');
});

test('both forms parse back to the same value and do not depend on key order', () => {
  fc.assert(
    fc.property(fc.jsonValue({ stringUnit: 'binary' }), (value) => {
      const parsed: unknown = JSON.parse(JSON.stringify(value));
      const canonical = canonicalJson(parsed);
      assert.deepEqual(JSON.parse(canonical), parsed);
      assert.deepEqual(JSON.parse(escapeNonAscii(canonical)), parsed);
      assert.match(escapeNonAscii(canonical), /^[\x20-\x7e]*$/);
      assert.equal(canonicalJson(reversed(parsed)), canonical);
    }),
  );
});

test('counts arrays and objects alike, up to the limit and beyond', () => {
  const nested = (depth: number) => `${'[{"a":'.repeat(depth / 2)}1${'}]'.repeat(depth / 2)}`;
  assert.equal(jsonDepthExceeds(nested(64), 64), false);
  assert.equal(jsonDepthExceeds(nested(66), 64), true);
  assert.equal(jsonDepthExceeds(Buffer.from(nested(64)), 63), true);
  assert.equal(jsonDepthExceeds('[[],[],[],{}]', 2), false);
  assert.equal(jsonDepthExceeds('', 0), false);
});

test('brackets inside strings do not count, whatever escapes stand around them', () => {
  assert.equal(jsonDepthExceeds(JSON.stringify({ a: '[[[[', 'b"\\': '\\"{{{{', c: '\\' }), 1), false);
  assert.equal(jsonDepthExceeds('{"a":"\\\\","b":[[1]]}', 2), true);
  assert.equal(jsonDepthExceeds('"[[[', 0), false);
});

test('the scan agrees with the depth of the parsed value', () => {
  fc.assert(
    fc.property(fc.jsonValue({ stringUnit: 'binary', maxDepth: 6 }), fc.nat(6), (value, limit) => {
      assert.equal(jsonDepthExceeds(JSON.stringify(value), limit), depthOf(value) > limit);
    }),
  );
});

test('a million brackets do not overflow any stack', () => {
  assert.equal(jsonDepthExceeds('['.repeat(1_000_000), 64), true);
});

function depthOf(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0;
  return 1 + Math.max(0, ...Object.values(value).map(depthOf));
}

function reversed(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(reversed);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).toReversed();
  return Object.fromEntries(entries.map(([key, inner]) => [key, reversed(inner)]));
}
