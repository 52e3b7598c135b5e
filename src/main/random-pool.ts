// Randomness in pieces of one size, drawn from the system many at a time: each draw is a system call.
import { randomFillSync } from 'node:crypto';

/** Hands out fresh random bytes, `size` of them, no piece twice. */
export function createRandomPool(size: number): () => Buffer {
  let pool = Buffer.alloc(0);
  let used = 0;
  return () => {
    if (used === pool.length) {
      // A new one: who holds a piece keeps it.
      pool = randomFillSync(Buffer.alloc(size * 256));
      used = 0;
    }
    used += size;
    return pool.subarray(used - size, used);
  };
}
