// How far a copy is: redrawn in place on a terminal, now and then as a plain line elsewhere.
import { Transform } from 'node:stream';
import type { Io } from './io.ts';
import { formatBytes } from './pull-progress.ts';

const drawnEveryMs = 200;
const plainEveryMs = 10_000;

export interface CopyProgress {
  /** `totalBytes` null: not known. */
  show(bytes: number, totalBytes: number | null): void;
  clear(): void;
}

/** Says nothing of a copy that is done within the first interval. */
export function createCopyProgress({ stderr, nowMs }: Io): CopyProgress {
  const startMs = nowMs();
  const everyMs = stderr.isTTY ? drawnEveryMs : plainEveryMs;
  let shownMs = startMs;
  let isDrawn = false;
  return {
    show(bytes, totalBytes) {
      if (nowMs() - shownMs < everyMs) return;
      shownMs = nowMs();
      const rate = formatBytes((bytes / (shownMs - startMs)) * 1_000);
      const line = `${formatBytes(bytes)}${totalBytes === null ? '' : ` of ${formatBytes(totalBytes)}`} at ${rate}/s`;
      isDrawn = stderr.isTTY === true;
      stderr.write(isDrawn ? `\r${line}\u001b[K` : `${line}\n`);
    },
    clear() {
      if (isDrawn) stderr.write('\r\u001b[K');
      isDrawn = false;
    },
  };
}

/** Passes bytes on and tells how many went by. */
export function countBytes(tell: (bytes: number) => void): Transform {
  let bytes = 0;
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      bytes += chunk.length;
      tell(bytes);
      done(null, chunk);
    },
  });
}
