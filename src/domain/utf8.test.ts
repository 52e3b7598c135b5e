// Whole characters at every cut of any text, and bytes that are no text at all.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { wholeCharacters } from './utf8.ts';

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const anyText = fc.string({ unit: 'binary', maxLength: 40 }).filter((text) => text.isWellFormed());

test('any cut of any text leaves a prefix of whole characters, and drops at most three bytes', () => {
  fc.assert(
    fc.property(anyText, fc.nat(200), (text, at) => {
      const cut = encoder.encode(text).subarray(0, at);
      const whole = wholeCharacters(cut);
      assert.ok(text.startsWith(decoder.decode(whole)));
      assert.ok(cut.length - whole.length <= 3);
    }),
    { numRuns: 2000 },
  );
});

test('text that ends whole is kept whole', () => {
  fc.assert(
    fc.property(anyText, (text) => {
      assert.equal(decoder.decode(wholeCharacters(encoder.encode(text))), text);
    }),
  );
});

for (const [character, bytes] of [
  ['é', 2],
  ['€', 3],
  ['😀', 4],
] as const) {
  test(`each part of ${character} waits for its other bytes`, () => {
    const encoded = encoder.encode(`a${character}`);
    for (let length = 1; length <= bytes; length += 1) {
      assert.equal(wholeCharacters(encoded.subarray(0, length)).length, 1);
    }
    assert.equal(wholeCharacters(encoded).length, 1 + bytes);
  });
}

test('bytes that are no UTF-8 are kept, so that a log is never held back by them', () => {
  const continuation = Uint8Array.of(0x80, 0x80, 0x80, 0x80, 0x80);
  assert.deepEqual(wholeCharacters(continuation), continuation);
  assert.equal(wholeCharacters(Uint8Array.of()).length, 0);
});

test('any bytes lose at most three, always from the end', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 20 }), (bytes) => {
      const whole = wholeCharacters(bytes);
      assert.ok(bytes.length - whole.length <= 3);
      assert.deepEqual(whole, bytes.subarray(0, whole.length));
    }),
  );
});
