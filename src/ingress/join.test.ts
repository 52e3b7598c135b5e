// Joined ends whose readers stall: each holds a bounded part, few hold a large one, and all of it comes back.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { DataStream, type Line } from './data-stream.ts';
import { join } from './join.ts';

const largeBytes = 1024 * 1024;
const smallBytes = 128 * 1024;
const pieceBytes = 64 * 1024;

/** What goes out through it is never taken. */
const stalledLine: Line = {
  resume() {},
  sendBytes() {},
  sendEnd() {},
  accept() {},
  refuse() {},
  hangUp() {},
  leave() {},
};

/** A source that gives as long as it is read, joined to a reader that does not read; how much waits between them. */
async function stalledPair(): Promise<{ heldBytes: number; close: () => Promise<void> }> {
  const [from, to] = [new DataStream(stalledLine), new DataStream(stalledLine)];
  join(from, to);
  for (let at = 0; at < 40 && !from.isPaused(); at += 1) {
    from.push(Buffer.alloc(pieceBytes));
    await turn();
  }
  const close = async () => {
    to.destroy();
    await turn();
  };
  return { heldBytes: to.writableLength, close };
}

test('a stalled reader holds a large buffer while there is one, else a small one, and gives it back', async () => {
  const first = await stalledPair();
  assert.equal(first.heldBytes, largeBytes);
  await first.close();

  const pairs = [];
  for (let count = 0; count < 100; count += 1) pairs.push(await stalledPair());
  const isLarge = pairs.map(({ heldBytes }) => heldBytes === largeBytes);
  assert.ok(pairs.every(({ heldBytes }) => heldBytes === largeBytes || heldBytes === smallBytes));
  assert.ok(isLarge.includes(true) && isLarge.includes(false));
  for (const { close } of pairs) await close();

  const last = await stalledPair();
  assert.equal(last.heldBytes, largeBytes);
  await last.close();
});
