// Joins two byte streams into one connection: both directions, half-close, back-pressure, and an end that is not mistaken for another.
import { Socket } from 'node:net';
import type { DataStream } from './data-stream.ts';

export type End = Socket | DataStream;

/** What waits for one end before the other is not read any more; more is more memory for each reader that stalls. */
const maxBufferedBytes = 128 * 1024;

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
  let isGathering = false;
  const release = () => {
    isGathering = false;
    to.uncork();
  };
  from.on('data', (chunk: Buffer) => {
    if (!isGathering) {
      isGathering = true;
      to.cork();
      setImmediate(release);
    }
    to.write(chunk);
    if (to.writableLength >= maxBufferedBytes) from.pause();
  });
  to.on('drain', () => from.resume());
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
