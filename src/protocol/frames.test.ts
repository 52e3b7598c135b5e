// Frames come out as they went in, wherever the bytes were cut; what is no frame is refused.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { encodeFrame, type Frame, FrameReader } from './frames.ts';

const frame = fc.record(
  {
    channel: fc.integer({ min: 0, max: 255 }),
    payload: fc.uint8Array({ maxLength: 40 }),
  },
  { noNullPrototype: true },
);

function joined(parts: readonly Uint8Array[]): Uint8Array {
  return Buffer.concat(parts);
}

function readInPieces(bytes: Uint8Array, cuts: readonly number[]): Frame[] {
  const reader = new FrameReader();
  const edges = [0, ...cuts.map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b), bytes.length];
  return edges.slice(1).flatMap((edge, index) => reader.read(bytes.subarray(edges[index], edge)));
}

test('cut at any bytes, the same frames come out', () => {
  fc.assert(
    fc.property(fc.array(frame, { maxLength: 8 }), fc.array(fc.nat(), { maxLength: 12 }), (frames, cuts) => {
      const read = readInPieces(joined(frames.map(encodeFrame)), cuts);
      assert.deepEqual(read, frames);
    }),
  );
});

test('every single byte by itself', () => {
  const frames = [
    { channel: 1, payload: new Uint8Array(0) },
    { channel: 2, payload: Uint8Array.of(0, 255, 10) },
  ];
  const bytes = joined(frames.map(encodeFrame));
  const all = Array.from(bytes, (_, index) => index);
  assert.deepEqual(readInPieces(bytes, all), frames);
});

test('what was read does not change when the buffer it came in is used again', () => {
  const bytes = encodeFrame({ channel: 1, payload: Uint8Array.of(1, 2, 3) });
  const [read] = new FrameReader().read(bytes);
  bytes.fill(0);
  assert.deepEqual(read?.payload, Uint8Array.of(1, 2, 3));
});

test('a length beyond 1 MiB is refused before its bytes are waited for', () => {
  const header = Uint8Array.of(1, 0, 16, 0, 1);
  assert.throws(() => new FrameReader().read(header), /1048577 bytes is too large/);
  assert.deepEqual(new FrameReader().read(Uint8Array.of(1, 0, 16, 0, 0)), []);
});
