// Routes of job runs: list without logs, one with its log as text, and slices of the log by byte offset.
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import Type from 'typebox';
import { getJobRun, type JobRunRecord, listJobRuns } from '../../db/job-runs.ts';
import { readLog } from '../../db/run-logs.ts';
import { jobRunStatuses, jobStatuses } from '../../domain/job.ts';
import {
  type JobRunDetail,
  JobRunDetail as JobRunDetailSchema,
  JobRunList,
  JobRunLogs,
} from '../../protocol/job-run.ts';
import { type Caller, callerOf, requirePermission } from '../auth.ts';
import type { ApiDeps } from '../deps.ts';
import { notFound, validationFailed } from '../errors.ts';
import type { EventStreams } from '../event-streams.ts';
import { jobRunView } from '../job-view.ts';
import { type FilterRules, parseListQuery } from '../list-query.ts';
import type { LogFeed } from '../log-feed.ts';
import { readLogPage } from '../log-page.ts';
import { readParameters, wholeNumber } from '../parameters.ts';
import { listOf, listQuerySchema, rawQueryOf, uuidOf, uuidParams } from '../route-parts.ts';
import { keepStream, lastEventId, listQueryOf, wantsStream } from '../stream-parts.ts';

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
/** The log inside GET of one run; longer ones are read in slices. */
const detailTailBytes = 4 * 1024 * 1024;

type RunDeps = ApiDeps & { eventStreams: EventStreams; logFeed: LogFeed };

export function jobRunRoutes(app: FastifyInstance, deps: RunDeps): void {
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
      config: { takesTicket: true },
      schema: {
        tags,
        summary: 'Read the log of a job run from a byte offset, or follow it as server-sent events',
        description: logsDescription,
        params: uuidParams,
        querystring: logsQuery,
        response: { 200: JobRunLogs },
      },
    },
    (request, reply) => getLogs(request, reply, deps),
  );
}

const logsDescription =
  'With `Accept: text/event-stream` the log is followed: each message is a piece as in the JSON answer, its id the next ' +
  'byte. `Last-Event-ID` resumes there. `event: end` with reason `complete` comes after the last byte.';

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

async function getLogs(request: FastifyRequest, reply: FastifyReply, deps: RunDeps): Promise<unknown> {
  const { offset, limit } = logSlice(request);
  const run = await requireRun(request, deps);
  if (!wantsStream(request)) return readLogPage(deps.database, run, { offset, limit });
  const from = lastOffset(request) ?? offset;
  const caller = callerOf(request);
  const stream = deps.eventStreams.open(reply, caller);
  await keepStream(stream, request, () =>
    deps.logFeed.follow(stream, { ...run, accountId: caller.accountId }, from),
  );
  return reply;
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

function lastOffset(request: FastifyRequest): number | null {
  const id = lastEventId(request);
  if (id === null) return null;
  if (/^\d{1,15}$/.test(id)) return Number(id);
  throw validationFailed([{ path: 'Last-Event-ID', expected: 'a byte offset', received: id.slice(0, 40) }]);
}

const sliceRules = {
  offset: { expected: 'a byte offset, 0 or more', read: wholeNumber(0, 999_999_999_999_999) },
  limit: { expected: `bytes from 1 to ${maxSliceBytes}`, read: wholeNumber(1, maxSliceBytes) },
};

function logSlice(request: FastifyRequest): { offset: number; limit: number } {
  return { offset: 0, limit: defaultSliceBytes, ...readParameters(listQueryOf(request), sliceRules) };
}
