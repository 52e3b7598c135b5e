// Fresh ids and tokens.
import { randomInt } from 'node:crypto';
import { createRandomPool } from './random-pool.ts';

const drawBytes = createRandomPool(16);

/** A UUID of version 7: 48 bits of epoch milliseconds, then randomness (RFC 9562 section 5.7). */
export function newId(nowMs: number = Date.now()): string {
  const bytes = drawBytes();
  bytes.writeUIntBE(nowMs, 0, 6);
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | 0x70, 6);
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8);
  const hex = bytes.toString('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';

/** Random letters and digits only: images use tokens unquoted in shell. */
export function newToken(length: number): string {
  return Array.from({ length }, () => alphabet[randomInt(alphabet.length)]).join('');
}
