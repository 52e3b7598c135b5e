// Nonces of reads: refused when seen within ten minutes, by a clock that the test moves.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { createReadNonces } from './read-nonces.ts';

const windowMs = 600_000;

function theNonces() {
  const clock = { nowMs: 0 };
  return { clock, nonces: createReadNonces(() => clock.nowMs) };
}

test('a nonce is good once for each key', () => {
  const { nonces } = theNonces();
  assert.equal(nonces.claim('key', 'nonce'), true);
  assert.equal(nonces.claim('key', 'nonce'), false);
  assert.equal(nonces.claim('other', 'nonce'), true);
});

test('no nonce is taken twice within ten minutes, whenever its generation began', () => {
  const anyMoves = fc.array(fc.tuple(fc.nat(400_000), fc.nat(5)), { maxLength: 40 });
  fc.assert(
    fc.property(anyMoves, (moves) => {
      const { clock, nonces } = theNonces();
      const claimedAtMs = new Map<number, number>();
      for (const [waitMs, number] of moves) {
        clock.nowMs += waitMs;
        const last = claimedAtMs.get(number);
        const isGood = nonces.claim('key', `nonce-${number}`);
        if (last === undefined) assert.equal(isGood, true);
        else if (clock.nowMs - last <= windowMs) assert.equal(isGood, false);
        if (isGood) claimedAtMs.set(number, clock.nowMs);
      }
    }),
    { numRuns: 500 },
  );
});

test('old nonces are forgotten, so that memory stays bounded', () => {
  const { clock, nonces } = theNonces();
  nonces.claim('key', 'old');
  clock.nowMs = windowMs + 1;
  nonces.claim('key', 'newer');
  clock.nowMs = 2 * windowMs + 2;
  assert.equal(nonces.claim('key', 'old'), true);
});
