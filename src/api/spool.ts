// Large bodies: written to a temporary file while they are hashed, since the signature covers bytes that come last.
import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { ApiError } from './errors.ts';

export interface SpooledBody {
  path: string;
  /** Lower-case hex over all bytes. */
  sha256: string;
  remove(): Promise<void>;
}

/** Largest upload; more goes in several. */
export const maxSpoolBytes = 1024 * 1024 * 1024;
/** Uploads at once in this replica: together they bound the disk that strangers with a public key can fill. */
const maxSpools = 8;
let spoolCount = 0;

export async function spool(body: NodeJS.ReadableStream): Promise<SpooledBody> {
  if (spoolCount >= maxSpools) {
    throw new ApiError('rate_limited', `More than ${maxSpools} uploads at once; try again.`, {
      retryAfterSeconds: 5,
    });
  }
  spoolCount += 1;
  const folder = await mkdtemp(join(tmpdir(), 'flotilla-upload-'));
  const remove = async () => {
    spoolCount -= 1;
    await rm(folder, { recursive: true, force: true });
  };
  const path = join(folder, 'body');
  const hash = createHash('sha256');
  try {
    await pipeline(body, measured(hash), createWriteStream(path, { mode: 0o600 }));
  } catch (error) {
    await remove();
    throw error;
  }
  return { path, sha256: hash.digest('hex'), remove };
}

function measured(hash: ReturnType<typeof createHash>): Transform {
  let sizeBytes = 0;
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      sizeBytes += chunk.length;
      if (sizeBytes > maxSpoolBytes) {
        done(
          new ApiError('payload_too_large', `An upload is at most ${maxSpoolBytes} bytes; send it in parts.`),
        );
        return;
      }
      hash.update(chunk);
      done(null, chunk);
    },
  });
}
