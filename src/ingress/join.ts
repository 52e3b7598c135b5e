// Joins two byte streams into one connection: both directions, half-close, back-pressure, and an end that is not mistaken for another.
import { Socket } from 'node:net';
import type { DataStream } from './data-stream.ts';

export type End = Socket | DataStream;

/** What waits for one end before the other is not read any more; more is more memory for each reader that stalls. */
const bufferBytes = 128 * 1024;

/** Fewer and larger writes are half the speed of a connection (0.6 to 0.75 of a plain pipe, against 0.5), but only so many of the process's connections may hold them at a time: stalled readers could else take 1 MiB each. */
const largeBufferBytes = 1024 * 1024;
let freeLargeBuffers = 48;

/** Pipes both ways until both have ended. A broken end breaks the other one, never looks like its orderly end. */
export function join(a: End, b: End): void {
  passOn(a, b);
  passOn(b, a);
}

/** The other side must see a break, not the end of what was sent. */
export function abort(end: End): void {
  if (end.destroyed) return;
  if (end instanceof Socket && isPlain(end)) end.resetAndDestroy();
  else end.destroy();
}

function passOn(from: End, to: End): void {
  pump(from, to);
  from.once('end', () => to.end());
  // What follows from an error comes with `close`.
  from.on('error', () => {});
  from.once('close', () => {
    if (to.destroyed) return;
    // It said all it had to say: that still has to arrive, and nobody hears the other direction any more.
    if (from.readableEnded) finish(to);
    else abort(to);
  });
}

/** Like pipe, but pieces that arrive in one turn of the event loop leave in one write: a system call for each is the dearest part of the way. */
function pump(from: End, to: End): void {
  const buffer = new BufferLimit();
  let isGathering = false;
  const release = () => {
    isGathering = false;
    to.uncork();
  };
  from.on('data', (chunk: Buffer) => {
    if (to.destroyed) return;
    if (!isGathering) {
      isGathering = true;
      to.cork();
      setImmediate(release);
    }
    to.write(chunk);
    if (!buffer.canHold(to.writableLength)) from.pause();
  });
  to.on('drain', () => {
    buffer.shrink();
    from.resume();
  });
  to.once('close', () => buffer.shrink());
}

/** How much may wait for one end: a large buffer while one is free, given back whenever everything was taken. */
class BufferLimit {
  #isLarge = false;

  canHold(byteCount: number): boolean {
    if (byteCount >= bufferBytes && !this.#isLarge && freeLargeBuffers > 0) {
      this.#isLarge = true;
      freeLargeBuffers -= 1;
    }
    return byteCount < (this.#isLarge ? largeBufferBytes : bufferBytes);
  }

  shrink(): void {
    if (this.#isLarge) freeLargeBuffers += 1;
    this.#isLarge = false;
  }
}

/** Ends after everything written has gone out; what still comes in is dropped. */
function finish(end: End): void {
  if (!(end instanceof Socket)) {
    end.finish();
    return;
  }
  end.resume();
  end.destroySoon();
}

/** TLS has no reset of its own. */
function isPlain(socket: Socket): boolean {
  return !('encrypted' in socket);
}
