// Files of a running container: a path out of it as a tar stream, a tar stream into one of its folders.
import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, type Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { type FilesWritten, maxUploadBytes } from '../protocol/files.ts';
import { type Caller, targetOf } from './call.ts';
import { ApiError, ConnectionError } from './errors.ts';
import { exchangeStream } from './http-stream.ts';
import { signRequest } from './sign.ts';

export interface WriteFilesOptions {
  signal?: AbortSignal;
  /** Called now and then while the tar is sent. */
  onProgress?: (sentBytes: number, totalBytes: number) => void;
}

export interface FilesCaller extends Caller {
  ca: string | Buffer | undefined;
}

/** Unpacking happens between the last byte sent and the answer. */
const idleMs = 10 * 60_000;
const sha256OfNothing = createHash('sha256').digest('hex');

/** Throws before the first byte when the path is not there; a stream that breaks later ends with an error. */
export async function readFiles(caller: FilesCaller, path: string, signal?: AbortSignal): Promise<Readable> {
  const response = await send(caller, { method: 'GET', path, sha256: sha256OfNothing, headers: {}, signal });
  const tar = new PassThrough();
  response.on('error', (error) =>
    tar.destroy(signal?.aborted ? signal.reason : new ConnectionError(caller.url.origin, error)),
  );
  tar.on('close', () => response.destroy());
  return response.pipe(tar);
}

/** `tar` is a file's name or a stream; a stream is kept in a temporary file, since its hash is sent first. */
export async function writeFiles(
  caller: FilesCaller,
  path: string,
  tar: string | Readable,
  options: WriteFilesOptions = {},
): Promise<FilesWritten> {
  if (typeof tar === 'string') return sendFile(caller, path, tar, options);
  const folder = await mkdtemp(join(tmpdir(), 'flotilla-tar-'));
  try {
    const file = join(folder, 'tar');
    const { signal } = options;
    await pipeline(tar, createWriteStream(file, { mode: 0o600 }), ...(signal ? [{ signal }] : []));
    return await sendFile(caller, path, file, options);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function sendFile(
  caller: FilesCaller,
  path: string,
  file: string,
  { signal, onProgress = () => {} }: WriteFilesOptions,
): Promise<FilesWritten> {
  const { size: totalBytes } = await stat(file);
  if (totalBytes > maxUploadBytes) {
    throw new Error(`The tar has ${totalBytes} bytes; one upload takes ${maxUploadBytes}: send it in parts.`);
  }
  const hash = createHash('sha256');
  await pipeline(createReadStream(file), hash);
  const body = createReadStream(file).pipe(counted((sentBytes) => onProgress(sentBytes, totalBytes)));
  const headers = { 'Content-Type': 'application/x-tar', 'Content-Length': String(totalBytes) };
  try {
    const answer = await send(caller, {
      method: 'PUT',
      path,
      sha256: hash.digest('hex'),
      headers,
      body,
      signal,
    });
    return JSON.parse(await textOf(answer)) as FilesWritten;
  } finally {
    body.destroy();
  }
}

function counted(tell: (bytes: number) => void): Transform {
  let bytes = 0;
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      bytes += chunk.length;
      tell(bytes);
      done(null, chunk);
    },
  });
}

interface Sent {
  method: 'GET' | 'PUT';
  /** `/v1/job-runs/{uuid}/files?path=…` */
  path: string;
  sha256: string;
  headers: Record<string, string>;
  body?: Readable;
  signal: AbortSignal | undefined;
}

async function send(caller: FilesCaller, sent: Sent): Promise<IncomingMessage> {
  const url = targetOf(caller.url, { path: sent.path });
  const headers = {
    ...sent.headers,
    ...signRequest({
      key: await caller.key(),
      method: sent.method,
      path: url.pathname + url.search,
      bodySha256: sent.sha256,
      timeMs: caller.edge.nowMs(),
      nonce: caller.edge.nonce(),
    }),
  };
  const { body, signal, method } = sent;
  let response: IncomingMessage;
  try {
    response = await exchangeStream({ method, url, headers, body, ca: caller.ca, idleMs, signal });
  } catch (error) {
    if (signal?.aborted) throw signal.reason;
    throw new ConnectionError(caller.url.origin, error);
  }
  const { statusCode: status = 0 } = response;
  if (status >= 200 && status < 300) return response;
  throw new ApiError({ status, text: await textOf(response) });
}

const maxTextBytes = 64 * 1024;

async function textOf(response: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of response as AsyncIterable<Buffer>) {
    bytes += part.length;
    if (bytes > maxTextBytes) break;
    parts.push(part);
  }
  return Buffer.concat(parts).toString();
}
