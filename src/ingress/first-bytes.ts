// Looks at the first bytes of a connection and puts back what it did not take.
import type { Socket } from 'node:net';

/**
 * Gives the bytes so far to `decide` until it answers other than null; that answer's `taken` bytes are gone, the rest is
 * read again by whoever reads next. null: the peer ended, or nothing decisive came within `timeoutMs`.
 */
export function firstBytes<T>(
  socket: Socket,
  decide: (bytes: Buffer) => { taken: number; answer: T } | null,
  timeoutMs: number,
): Promise<T | null> {
  return new Promise((resolve) => {
    let bytes: Buffer = Buffer.alloc(0);
    const finish = (result: { taken: number; answer: T } | null) => {
      clearTimeout(timer);
      socket.off('readable', read).off('end', giveUp).off('close', giveUp);
      const rest = bytes.subarray(result?.taken ?? 0);
      if (rest.length > 0 && !socket.destroyed) socket.unshift(rest);
      resolve(result?.answer ?? null);
    };
    const giveUp = () => finish(null);
    const read = () => {
      const chunk: Buffer | null = socket.read();
      if (chunk === null) return;
      bytes = bytes.length === 0 ? chunk : Buffer.concat([bytes, chunk]);
      const result = decide(bytes);
      if (result !== null) finish(result);
    };
    const timer = setTimeout(giveUp, timeoutMs);
    socket.on('readable', read).once('end', giveUp).once('close', giveUp);
  });
}
