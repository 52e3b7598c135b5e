// Routes of job runs: list without logs, one with its log as text, and slices of the log by byte offset.
import type { FastifyInstance, FastifyRequest } from 'fastify';
import Type from 'typebox';
import { getJobRun, type JobRunRecord, listJobRuns } from '../../db/job-runs.ts';
import { readLog } from '../../db/run-logs.ts';
import { jobRunStatuses, jobStatuses } from '../../domain/job.ts';
import { wholeCharacters } from '../../domain/utf8.ts';
import {
  type JobRunDetail,
  JobRunDetail as JobRunDetailSchema,
  JobRunList,
  JobRunLogs,
} from '../../protocol/job-run.ts';
import { type Caller, callerOf, requirePermission } from '../auth.ts';
import type { ApiDeps } from '../deps.ts';
import { notFound, validationFailed } from '../errors.ts';
import { jobRunView } from '../job-view.ts';
import { type FilterRules, parseListQuery } from '../list-query.ts';
import { listOf, listQuerySchema, rawQueryOf, uuidOf, uuidParams } from '../route-parts.ts';

const filters: FilterRules = {
  job_uuid: { kind: 'uuids', column: 'r.job_id' },
  status: { kind: 'words', column: 'r.status', words: jobRunStatuses, alsoKnown: jobStatuses },
  uuid: { kind: 'uuids', column: 'r.id' },
  node_uuid: { kind: 'uuids', column: 'r.node_id' },
  created_at: { kind: 'times', column: 'r.created_at' },
};

const tags = ['Job runs'];
/** One answer's share of a log; the rest follows from next_offset. */
const defaultSliceBytes = 1024 * 1024;
const maxSliceBytes = 4 * 1024 * 1024;
/** The longest character of UTF-8: a smaller slice might hold none, and its reader would never get on. */
const minSliceBytes = 4;
/** The log inside GET of one run; longer ones are read in slices. */
const detailTailBytes = 4 * 1024 * 1024;

export function jobRunRoutes(app: FastifyInstance, deps: ApiDeps): void {
  const list = {
    schema: {
      tags,
      summary: 'List job runs, newest first; logs are on each run',
      querystring: listQuerySchema(filters),
      response: { 200: JobRunList },
    },
  };
  app.get('/v1/job-runs', list, (request) => listRuns(request, deps));
  // The older guide writes jobs-runs.
  app.get('/v1/jobs-runs', list, (request) => listRuns(request, deps));
  app.get(
    '/v1/job-runs/:uuid',
    {
      schema: {
        tags,
        summary: 'Get one job run with its logs',
        params: uuidParams,
        response: { 200: JobRunDetailSchema },
      },
    },
    (request) => getRun(request, deps),
  );
  app.get(
    '/v1/job-runs/:uuid/logs',
    {
      schema: {
        tags,
        summary: 'Read the log of a job run from a byte offset',
        params: uuidParams,
        querystring: logsQuery,
        response: { 200: JobRunLogs },
      },
    },
    (request) => getLogs(request, deps),
  );
}

const logsQuery = Type.Object({
  offset: Type.Optional(Type.Integer({ minimum: 0, default: 0, description: 'bytes' })),
  limit: Type.Optional(
    Type.Integer({ minimum: 1, maximum: maxSliceBytes, default: defaultSliceBytes, description: 'bytes' }),
  ),
});

async function listRuns(request: FastifyRequest, deps: ApiDeps) {
  const caller = callerOf(request);
  requirePermission(caller, 'jobs:read');
  const query = parseListQuery(rawQueryOf(request), filters);
  // A client that submits and polls at once sees its run, not an empty list.
  await deps.scheduling.awaitPass(caller.accountId);
  const result = await listJobRuns(deps.database, deps.vault, { ...query, accountId: caller.accountId });
  return listOf(
    query,
    result,
    result.items.map((run) => jobRunView(run, deps.gateway)),
  );
}

async function getRun(request: FastifyRequest, deps: ApiDeps): Promise<JobRunDetail> {
  const run = await requireRun(request, deps);
  const slice = await readLog(deps.database, { runId: run.id, offset: 0, limit: detailTailBytes });
  const texts = [slice.bytes.toString('utf8')];
  const shownTo = slice.offset + slice.bytes.length;
  if (shownTo < slice.totalBytes) {
    const from = Math.max(shownTo, slice.totalBytes - detailTailBytes);
    const tail = await readLog(deps.database, {
      runId: run.id,
      offset: from,
      limit: slice.totalBytes - from,
    });
    if (tail.offset > shownTo) texts.push(`\n[${tail.offset - shownTo} bytes left out]\n`);
    texts.push(tail.bytes.toString('utf8'));
  }
  return { ...jobRunView(run, deps.gateway), logs: texts.join('') };
}

async function getLogs(request: FastifyRequest, deps: ApiDeps): Promise<JobRunLogs> {
  const { offset, limit } = logRange(rawQueryOf(request));
  const run = await requireRun(request, deps);
  const slice = await readLog(deps.database, {
    runId: run.id,
    offset,
    limit: Math.max(limit, minSliceBytes),
  });
  const isComplete = run.releasedAtMs !== null;
  const reachesEnd = slice.offset + slice.bytes.length >= slice.totalBytes;
  // A character may continue in bytes that are still to come; at the very end it is shown as it is.
  const bytes = isComplete && reachesEnd ? slice.bytes : wholeCharacters(slice.bytes);
  const nextOffset = slice.offset + bytes.length;
  return {
    object: 'job_run_logs',
    job_run_uuid: run.id,
    text: Buffer.from(bytes).toString('utf8'),
    offset: slice.offset,
    next_offset: nextOffset,
    total_bytes: slice.totalBytes,
    gap: slice.gap,
    is_complete: isComplete && nextOffset >= slice.totalBytes,
    is_end_stored: run.isLogComplete,
  };
}

async function requireRun(request: FastifyRequest, deps: ApiDeps): Promise<JobRunRecord> {
  const caller: Caller = callerOf(request);
  requirePermission(caller, 'jobs:read');
  const run = await getJobRun(deps.database, deps.vault, {
    id: uuidOf(request, 'job run'),
    accountId: caller.accountId,
  });
  if (run === null) throw notFound('job run');
  return run;
}

function logRange(rawQuery: string): { offset: number; limit: number } {
  const range = { offset: 0, limit: defaultSliceBytes };
  const issues = [];
  for (const [name, value] of new URLSearchParams(rawQuery)) {
    const number = /^\d{1,15}$/.test(value) ? Number(value) : Number.NaN;
    if (name === 'offset' && number >= 0) range.offset = number;
    else if (name === 'limit' && number >= 1 && number <= maxSliceBytes) range.limit = number;
    else if (name === 'offset')
      issues.push({ path: name, expected: 'a byte offset, 0 or more', received: value.slice(0, 40) });
    else if (name === 'limit')
      issues.push({ path: name, expected: `bytes from 1 to ${maxSliceBytes}`, received: value.slice(0, 40) });
    else
      issues.push({ path: name.slice(0, 80), expected: 'offset or limit', received: 'an unknown parameter' });
  }
  if (issues.length > 0) throw validationFailed(issues);
  return range;
}
