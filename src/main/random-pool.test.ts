// Randomness in pieces: of the size asked for, never one twice, and a piece stays as it was handed out.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createRandomPool } from './random-pool.ts';

test('pieces have their size, differ, and stay what they are when the pool is drawn anew', () => {
  const draw = createRandomPool(12);
  const pieces = Array.from({ length: 1_000 }, () => {
    const piece = draw();
    return { piece, seen: piece.toString('hex') };
  });
  assert.ok(pieces.every(({ piece }) => piece.length === 12));
  assert.equal(new Set(pieces.map(({ seen }) => seen)).size, pieces.length);
  assert.deepEqual(
    pieces.map(({ piece }) => piece.toString('hex')),
    pieces.map(({ seen }) => seen),
  );
});
