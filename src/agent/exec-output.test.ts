// The engine's multiplexed output, cut anywhere, is taken apart without loss and in order.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type OutputPiece, splitOutput } from './exec-output.ts';

function engineFrame({ stream, bytes }: OutputPiece): Buffer {
  const header = Buffer.alloc(8);
  header[0] = stream === 'stdout' ? 1 : 2;
  header.writeUInt32BE(bytes.length, 4);
  return Buffer.concat([header, bytes]);
}

async function* inPieces(bytes: Buffer, cuts: readonly number[]): AsyncGenerator<Buffer> {
  const edges = [0, ...cuts.map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b), bytes.length];
  for (let at = 1; at < edges.length; at += 1) yield bytes.subarray(edges[at - 1], edges[at]);
}

const piece = fc.record(
  {
    stream: fc.constantFrom('stdout' as const, 'stderr' as const),
    bytes: fc.uint8Array({ minLength: 1, maxLength: 30 }).map((bytes) => Buffer.from(bytes)),
  },
  { noNullPrototype: true },
);

/** Cuts inside a frame do not count. */
function merged(pieces: readonly OutputPiece[]): OutputPiece[] {
  const all: OutputPiece[] = [];
  for (const next of pieces) {
    const last = all.at(-1);
    if (last?.stream === next.stream)
      all[all.length - 1] = { ...last, bytes: Buffer.concat([last.bytes, next.bytes]) };
    else all.push(next);
  }
  return all;
}

test('cut at any bytes, each stream has its bytes in order', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(piece, { maxLength: 8 }),
      fc.array(fc.nat(), { maxLength: 12 }),
      async (pieces, cuts) => {
        const wire = Buffer.concat(pieces.map(engineFrame));
        const read: OutputPiece[] = [];
        for await (const next of splitOutput(inPieces(wire, cuts))) read.push(next);
        assert.deepEqual(merged(read), merged(pieces));
      },
    ),
  );
});
