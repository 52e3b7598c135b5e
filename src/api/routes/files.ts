// Files of a run's container as a tar stream: read a path, or unpack into one.
import { createReadStream } from 'node:fs';
import { type Duplex, PassThrough, type Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import Type from 'typebox';
import { recordJobEvent } from '../../db/job-events.ts';
import { claimNonce } from '../../db/nonces.ts';
import { type FilesRequest, filesWritten } from '../../protocol/data-streams.ts';
import { FilesWritten } from '../../protocol/files.ts';
import { actorOf, callerOf, requirePermission } from '../auth.ts';
import { rawBodyOf } from '../body.ts';
import type { ApiDeps } from '../deps.ts';
import { ApiError, nonceReused, unsupportedMediaType, validationFailed } from '../errors.ts';
import { rawQueryOf, uuidOf, uuidParams } from '../route-parts.ts';
import { streamFailure } from '../run-streams.ts';
import { requireRunning } from './exec.ts';

const tags = ['Job runs'];
const query = Type.Object({ path: Type.String({ description: 'absolute path in the container' }) });
const maxPathLength = 4096;
const tar = { content: { 'application/x-tar': { schema: { type: 'string', format: 'binary' } } } };

export function fileRoutes(app: FastifyInstance, deps: ApiDeps): void {
  app.get(
    '/v1/job-runs/:uuid/files',
    {
      schema: {
        tags,
        summary: 'Read a file or folder of the container as a tar stream',
        params: uuidParams,
        querystring: query,
        response: { 200: { description: 'a tar stream', ...tar } },
      },
    },
    (request, reply) => readFiles(request, reply, deps),
  );
  app.put(
    '/v1/job-runs/:uuid/files',
    {
      schema: {
        tags,
        summary: 'Unpack a tar stream (Content-Type application/x-tar) into a folder of the container',
        params: uuidParams,
        querystring: query,
        body: tar,
        response: { 200: FilesWritten },
      },
    },
    (request) => writeFiles(request, deps),
  );
}

async function readFiles(request: FastifyRequest, reply: FastifyReply, deps: ApiDeps): Promise<FastifyReply> {
  const { caller, run, path } = await prepare(request, deps);
  const stream = wholeOf(await open(deps, run, { operation: 'read', path }));
  try {
    const actor = actorOf(caller);
    await recordJobEvent(deps.database, { ...run, kind: 'files_read', actor, detail: { path } });
    deps.hints.publish({ kind: 'event' });
  } catch (error) {
    stream.destroy();
    throw error;
  }
  return reply.type('application/x-tar').send(stream);
}

async function writeFiles(request: FastifyRequest, deps: ApiDeps): Promise<FilesWritten> {
  const { caller, run, path } = await prepare(request, deps);
  const { spooled } = rawBodyOf(request);
  if (spooled === null) throw unsupportedMediaType('Send a tar stream: Content-Type application/x-tar.');
  const actor = actorOf(caller);
  // The agent says no to a wrong path here; nothing has an effect before the bytes.
  const stream = await open(deps, run, { operation: 'write', path });
  try {
    await deps.database.transaction(async (sql) => {
      if (!(await claimNonce(sql, caller.nonce.keyId, caller.nonce.value))) throw nonceReused();
      await recordJobEvent(sql, { ...run, kind: 'files_written', actor, detail: { path } });
    });
    deps.hints.publish({ kind: 'event' });
  } catch (error) {
    stream.destroy();
    throw error;
  }
  const [answer] = await Promise.all([
    collect(stream),
    pipeline(createReadStream(spooled.path), stream, { end: true }),
  ]).catch((error) => {
    throw streamFailure(error);
  });
  if (answer === '') throw streamFailure(new Error('The agent ended the stream without a word.'));
  if (answer !== filesWritten) throw new ApiError('conflict', answer.slice(0, 300));
  return { object: 'job_run_files', job_run_uuid: run.runId, path };
}

async function open(
  deps: ApiDeps,
  run: { nodeId: string; runId: string },
  request: FilesRequest,
): Promise<Duplex> {
  try {
    return await deps.streams.open(run, { kind: 'files', request });
  } catch (error) {
    throw streamFailure(error);
  }
}

/** All that the agent sends, or an error: also when it has ended, or broken, before anybody reads. */
function wholeOf(stream: Duplex): Readable {
  const tar = new PassThrough();
  // Until it is sent, what is wrong with it is not.
  tar.on('error', () => {});
  stream.end();
  stream.once('end', () => tar.end());
  stream.on('error', (error) => tar.destroy(error));
  stream.once('close', () => {
    if (!stream.readableEnded) tar.destroy(new Error('The data connection broke in the middle of a tar.'));
  });
  tar.once('close', () => stream.destroy());
  return stream.pipe(tar, { end: false });
}

const maxAnswerBytes = 4096;

/** The agent's last words; more than a sentence is none. */
async function collect(stream: Duplex): Promise<string> {
  const parts: Buffer[] = [];
  let sizeBytes = 0;
  for await (const part of stream as AsyncIterable<Buffer>) {
    sizeBytes += part.length;
    if (sizeBytes <= maxAnswerBytes) parts.push(part);
  }
  return Buffer.concat(parts).toString('utf8');
}

async function prepare(request: FastifyRequest, deps: ApiDeps) {
  const caller = callerOf(request);
  requirePermission(caller, 'jobs:exec');
  const run = await requireRunning(uuidOf(request, 'job run'), caller, deps);
  const path = pathOf(rawQueryOf(request));
  return { caller, path, run: { nodeId: run.nodeId, runId: run.id, jobId: run.jobId } };
}

function pathOf(rawQuery: string): string {
  const fields = [...new URLSearchParams(rawQuery)];
  const [field, ...others] = fields;
  const path = field?.[0] === 'path' ? field[1] : '';
  if (others.length === 0 && path.startsWith('/') && path.length <= maxPathLength && !path.includes('\0'))
    return path;
  throw validationFailed([
    { path: 'path', expected: 'one absolute path in the container, such as ?path=/tmp/results' },
  ]);
}
