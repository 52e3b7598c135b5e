// Frames of data connections: whatever pieces they arrive in, and what is refused.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { DataFrameReader, type FrameKind, frameHeader, frameKinds } from './data-frames.ts';

interface Said {
  kind: FrameKind;
  payload: Buffer;
}

const frame = fc.record({
  kind: fc.constantFrom(...(Object.keys(frameKinds) as FrameKind[])),
  payload: fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
});

/** What a reader makes of the bytes, cut as told; pieces of `bytes` frames are joined. */
function readAll(wire: Buffer, cuts: readonly number[]): { frames: Said[]; bytes: Buffer } {
  const frames: Said[] = [];
  const pieces: Buffer[] = [];
  const reader = new DataFrameReader({
    bytes: (piece) => void pieces.push(Buffer.from(piece)),
    frame: (kind, payload) => void frames.push({ kind, payload: Buffer.from(payload) }),
  });
  let from = 0;
  for (const cut of [...cuts.map((it) => it % (wire.length + 1)).sort((a, b) => a - b), wire.length]) {
    reader.read(wire.subarray(from, cut));
    from = cut;
  }
  return { frames, bytes: Buffer.concat(pieces) };
}

test('frames come back whatever pieces the bytes arrive in', () => {
  fc.assert(
    fc.property(fc.array(frame, { maxLength: 12 }), fc.array(fc.nat(), { maxLength: 30 }), (said, cuts) => {
      const wire = Buffer.concat(
        said.flatMap(({ kind, payload }) => [frameHeader(kind, payload.length), payload]),
      );
      const { frames, bytes } = readAll(wire, cuts);
      assert.deepEqual(
        frames.map(({ kind, payload }) => [kind, ...payload]),
        said.flatMap(({ kind, payload }) => (kind === 'bytes' ? [] : [[kind, ...payload]])),
      );
      assert.deepEqual(
        bytes,
        Buffer.concat(said.flatMap(({ kind, payload }) => (kind === 'bytes' ? [payload] : []))),
      );
    }),
  );
});

test('an unknown kind, and a held frame beyond its bound, are refused', () => {
  assert.throws(() => readAll(Buffer.from([99, 0, 0, 0, 0]), []), /kind 99/);
  assert.throws(() => readAll(frameHeader('open', 300_000), []), /too large/);
});
