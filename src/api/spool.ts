// Large bodies: written to a temporary file while they are hashed, since the signature covers bytes that come last.
import { createHash } from 'node:crypto';
import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { maxUploadBytes } from '../protocol/files.ts';
import { ApiError } from './errors.ts';

export interface SpooledBody {
  path: string;
  /** Lower-case hex over all bytes. */
  sha256: string;
  /** More than once is as once. */
  remove(): Promise<void>;
}

/** Uploads at once in this replica: together they bound the disk that strangers with a public key can fill. */
const maxSpools = 8;
let spoolCount = 0;

/** `declaredBytes` is the Content-Length; null when the body comes without one. */
export async function spool(
  body: Readable,
  { declaredBytes, maxBytes = maxUploadBytes }: { declaredBytes: number | null; maxBytes?: number },
): Promise<SpooledBody> {
  if (declaredBytes !== null && declaredBytes > maxBytes) throw tooLarge(maxBytes);
  if (spoolCount >= maxSpools) {
    throw new ApiError('rate_limited', `More than ${maxSpools} uploads at once; try again.`, {
      retryAfterSeconds: 5,
    });
  }
  spoolCount += 1;
  // It may break before it is read.
  body.on('error', () => {});
  const folder = await mkdtemp(join(tmpdir(), 'flotilla-upload-')).catch((error) => {
    spoolCount -= 1;
    throw error;
  });
  let removal: Promise<void> | undefined;
  const remove = () => {
    removal ??= rm(folder, { recursive: true, force: true }).finally(() => {
      spoolCount -= 1;
    });
    return removal;
  };
  const path = join(folder, 'body');
  try {
    return { path, sha256: await writeHashed(body, path, maxBytes), remove };
  } catch (error) {
    await remove();
    throw error;
  }
}

/** The body itself stays open when this fails, so that the refusal can still be sent. */
async function writeHashed(body: Readable, path: string, maxBytes: number): Promise<string> {
  const hash = createHash('sha256');
  const file = await open(path, 'wx', 0o600);
  let sizeBytes = 0;
  try {
    for await (const chunk of chunksOf(body)) {
      sizeBytes += chunk.length;
      if (sizeBytes > maxBytes) throw tooLarge(maxBytes);
      hash.update(chunk);
      await file.appendFile(chunk);
    }
  } finally {
    await file.close();
  }
  return hash.digest('hex');
}

async function* chunksOf(body: Readable): AsyncGenerator<Buffer> {
  const chunks = body.iterator({ destroyOnReturn: false });
  for (;;) {
    const next = await chunks.next().catch((cause: unknown) => {
      throw new ApiError('validation_failed', 'The upload broke off before its end.', { cause });
    });
    if (next.done) return;
    yield next.value;
  }
}

function tooLarge(maxBytes: number): ApiError {
  return new ApiError('payload_too_large', `An upload is at most ${maxBytes} bytes; send it in parts.`);
}
