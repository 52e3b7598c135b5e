// Fresh ids and tokens, the one place where the program meets randomness.
import { randomFillSync, randomInt } from 'node:crypto';

/** Randomness for this many ids is drawn at once: each draw is a system call. */
const pool = Buffer.alloc(16 * 256);
let used = pool.length;

/** A UUID of version 7: 48 bits of epoch milliseconds, then randomness (RFC 9562 section 5.7). */
export function newId(nowMs: number = Date.now()): string {
  const bytes = drawBytes();
  bytes.writeUIntBE(nowMs, 0, 6);
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | 0x70, 6);
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8);
  const hex = bytes.toString('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

/** 16 bytes of the pool, never handed out twice. */
function drawBytes(): Buffer {
  if (used === pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  used += 16;
  return pool.subarray(used - 16, used);
}

const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';

/** Random letters and digits only: images use tokens unquoted in shell. */
export function newToken(length: number): string {
  return Array.from({ length }, () => alphabet[randomInt(alphabet.length)]).join('');
}
