// Joins two byte streams into one connection: both directions, half-close, back-pressure, and an end that is not mistaken for another.
import { constants, type Http2Stream } from 'node:http2';
import { Socket } from 'node:net';

export type End = Socket | Http2Stream;

/** What one end holds for the other beyond the stream's window; more is more memory for each reader that stalls. */
const maxBufferedBytes = 64 * 1024;
/** Enough for one write; more would only wait. */
const gatherBytes = 48 * 1024;

/** Pipes both ways until both have ended. A broken end breaks the other one, never looks like its orderly end. */
export function join(a: End, b: End): void {
  passOn(a, b);
  passOn(b, a);
}

/** The other side must see a reset, not the end of what was sent. */
export function abort(end: End): void {
  if (end.destroyed) return;
  // Not close(): that sends an orderly end of the stream before the reset.
  if (!(end instanceof Socket)) end.destroy(new Error('The other end of the connection broke.'));
  else if (isPlain(end)) end.resetAndDestroy();
  else end.destroy();
}

function passOn(from: End, to: End): void {
  pump(from, to);
  // A stream that was reset ends as well as one that is over.
  from.once('end', () => (isReset(from) ? abort(to) : to.end()));
  // What follows from an error comes with `close`.
  from.on('error', () => {});
  from.once('close', () => {
    if (to.destroyed) return;
    // It said all it had to say: that still has to arrive, and nobody hears the other direction any more.
    if (hasSaidAll(from)) finish(to);
    else abort(to);
  });
}

/**
 * Like pipe, but pieces that arrive in one turn of the event loop leave in one write: HTTP/2 cuts what it carries into
 * frames of 16 KiB, and a system call for each would be half the cost of the whole way.
 */
function pump(from: End, to: End): void {
  let isGathering = false;
  const release = () => {
    if (!isGathering) return;
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
    if (to.writableLength >= gatherBytes) release();
    if (to.writableLength >= maxBufferedBytes) from.pause();
  });
  to.on('drain', () => from.resume());
}

function hasSaidAll(end: End): boolean {
  return end.readableEnded && !isReset(end);
}

function isReset(end: End): boolean {
  return !(end instanceof Socket) && (end.rstCode ?? 0) !== constants.NGHTTP2_NO_ERROR;
}

/** Ends after everything written has gone out; what still comes in is dropped. */
function finish(end: End): void {
  end.resume();
  if (end instanceof Socket) {
    end.destroySoon();
    return;
  }
  const close = () => end.close(constants.NGHTTP2_NO_ERROR);
  if (end.writableFinished) close();
  else end.once('finish', close);
}

/** TLS has no reset of its own. */
function isPlain(socket: Socket): boolean {
  return !('encrypted' in socket);
}
