// Routes of jobs: create, list, get, and Stop Job.
import { createHash } from 'node:crypto';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import Type from 'typebox';
import type { JobRecord } from '../../db/job-rows.ts';
import { stopJob } from '../../db/job-stops.ts';
import type { SubmitOutcome } from '../../db/job-submit.ts';
import {
  countLiveJobs,
  createJobReader,
  findJobByIdempotencyKey,
  type JobReader,
  listJobs,
} from '../../db/jobs.ts';
import { createReasonReader } from '../../db/placement.ts';
import { needOf, shapeKeyOf } from '../../domain/placement-need.ts';
import { CancelJobBody, CreateJobBody, Job, JobList, type PendingReason } from '../../protocol/job.ts';
import { JobDryRun } from '../../protocol/offer.ts';
import { type Caller, callerOf, requirePermission } from '../auth.ts';
import type { ApiDeps } from '../deps.ts';
import { ApiError, nonceReused, notFound, validationFailed } from '../errors.ts';
import { dryRunJob, isDryRun } from '../job-dry-run.ts';
import { jobFilters } from '../job-filters.ts';
import { type JobRequest, readJobRequest } from '../job-request.ts';
import { jobView } from '../job-view.ts';
import { parseListQuery } from '../list-query.ts';
import { listOf, listQuerySchema, rawQueryOf, uuidOf, uuidParams } from '../route-parts.ts';
import { stopOrderOf } from '../stop-order.ts';
import { awaitTeardown } from '../teardown-wait.ts';
import { bodyCheck } from '../validate.ts';

const cancelCheck = bodyCheck(CancelJobBody);
const tags = ['Jobs'];

interface JobDeps extends ApiDeps {
  jobReader: JobReader;
  reasonsOf: (shapes: readonly string[]) => Promise<Map<string, PendingReason>>;
}

export function jobRoutes(app: FastifyInstance, apiDeps: ApiDeps): void {
  const { database, vault } = apiDeps;
  const deps: JobDeps = {
    ...apiDeps,
    jobReader: createJobReader(database, vault),
    reasonsOf: createReasonReader(database),
  };
  app.post(
    '/v1/jobs',
    {
      schema: {
        tags,
        summary: 'Create a job; with dry_run=true only say where it would go and what it would cost',
        headers: idempotencyHeader,
        querystring: Type.Object({ dry_run: Type.Optional(Type.Boolean({ default: false })) }),
        body: CreateJobBody,
        response: { 200: JobDryRun, 201: Job },
      },
    },
    async (request, reply) => {
      const wanted = readWanted(request);
      if (!isDryRun(request)) return reply.code(201).send(await createJob(request, wanted, deps));
      return reply.code(200).send(await dryRunJob(wanted, { caller: callerOf(request), deps }));
    },
  );
  app.get(
    '/v1/jobs',
    {
      schema: {
        tags,
        summary: 'List jobs, newest first',
        querystring: listQuerySchema(jobFilters),
        response: { 200: JobList },
      },
    },
    async (request) => {
      const caller = callerOf(request);
      requirePermission(caller, 'jobs:read');
      const query = parseListQuery(rawQueryOf(request), jobFilters);
      const result = await listJobs(deps.database, deps.vault, { ...query, accountId: caller.accountId });
      return listOf(query, result, await jobViews(result.items, deps));
    },
  );
  app.get(
    '/v1/jobs/:uuid',
    { schema: { tags, summary: 'Get one job', params: uuidParams, response: { 200: Job } } },
    async (request) => {
      const caller = callerOf(request);
      requirePermission(caller, 'jobs:read');
      const job = await requireJob(uuidOf(request, 'job'), caller, deps);
      const view = await oneJobView(job, deps);
      return { ...view, queue_position: await queuePosition(view, deps) };
    },
  );
  app.put(
    '/v1/jobs/:uuid/cancel',
    {
      schema: {
        tags,
        summary: 'Stop Job',
        description:
          'Stops a job in any state; repeating it is safe. The job is CANCELLED at once, its container follows: see teardown.',
        params: uuidParams,
        body: CancelJobBody,
        response: { 200: Job },
      },
    },
    (request) => cancelJob(request, deps),
  );
}

const idempotencyHeader = Type.Object({
  'idempotency-key': Type.Optional(
    Type.String({
      maxLength: 255,
      description: 'a repeat with the same key and body within 24 h answers the first job',
    }),
  ),
});

function readWanted(request: FastifyRequest): JobRequest {
  const caller = callerOf(request);
  requirePermission(caller, 'jobs:create');
  const wanted = readJobRequest(request.body);
  if (wanted.spec.priority > 0) requirePermission(caller, 'jobs:prioritize');
  return wanted;
}

async function createJob(request: FastifyRequest, wanted: JobRequest, deps: JobDeps): Promise<Job> {
  const caller = callerOf(request);
  const idempotency = idempotencyOf(request, caller);
  await checkLiveJobs(caller, deps);
  const job = { id: deps.newId(), accountId: caller.accountId, ...wanted, sourceRecipeUuid: null };
  const outcome = await deps.submitter.submit({ ...job, nonce: caller.nonce, idempotency });
  if (outcome.kind !== 'key_used') return accepted(job, outcome, deps);
  const first =
    idempotency &&
    (await findJobByIdempotencyKey(deps.database, deps.vault, { ...caller, key: idempotency.key }));
  if (first) return replayed(first, idempotency.hash, deps);
  // The key's first job is older than a day, and the key is free again by now.
  return accepted(job, await deps.submitter.submit({ ...job, nonce: null, idempotency }), deps);
}

interface SubmittedJob extends JobRequest {
  id: string;
  accountId: string;
  sourceRecipeUuid: string | null;
}

function accepted(job: SubmittedJob, outcome: SubmitOutcome, deps: JobDeps): Job {
  if (outcome.kind === 'nonce_reused') throw nonceReused();
  if (outcome.kind === 'key_used')
    throw new ApiError(
      'idempotency_conflict',
      'This Idempotency-Key is in use by a request under way; repeat it.',
    );
  deps.hints.publish({ kind: 'schedule' });
  const record: JobRecord = {
    ...job,
    status: 'PENDING',
    createdAtMs: outcome.createdAtMs,
    updatedAtMs: outcome.createdAtMs,
    timeoutAssignAtMs: outcome.timeoutAssignAtMs,
    startedAtMs: null,
    completedAtMs: null,
    statusReason: null,
    statusDetail: null,
    lastRun: null,
  };
  return jobView(record, { pendingReason: null, gateway: deps.gateway });
}

function replayed(first: { job: JobRecord; hash: Buffer }, hash: Buffer, deps: JobDeps): Promise<Job> {
  if (first.hash.equals(hash)) return oneJobView(first.job, deps);
  throw new ApiError(
    'idempotency_conflict',
    'This Idempotency-Key was used with another body; use a new key for a new job.',
    {
      details: { job_uuid: first.job.id },
    },
  );
}

function idempotencyOf(request: FastifyRequest, caller: Caller): { key: string; hash: Buffer } | null {
  const key = request.headers['idempotency-key'];
  if (key === undefined) return null;
  if (typeof key !== 'string' || !/^[\x21-\x7e]{1,255}$/.test(key)) {
    throw validationFailed([{ path: 'Idempotency-Key', expected: '1 to 255 visible ASCII characters' }]);
  }
  const body = JSON.stringify(request.body) ?? '';
  return { key, hash: createHash('sha256').update(caller.accountId).update(body).digest() };
}

/** The cap keeps one account from filling the queue; counting stops at the cap. */
async function checkLiveJobs(caller: Caller, deps: JobDeps): Promise<void> {
  if (!deps.liveJobs.mayBeFull(caller.accountId)) return;
  const count = await countLiveJobs(deps.database, caller.accountId, deps.maxLiveJobs);
  deps.liveJobs.note(caller.accountId, count);
  if (count < deps.maxLiveJobs) return;
  throw new ApiError(
    'rate_limited',
    `This account has ${deps.maxLiveJobs} jobs that have not ended; stop some or wait.`,
    {
      retryAfterSeconds: 10,
    },
  );
}

async function cancelJob(request: FastifyRequest, deps: JobDeps): Promise<Job> {
  const caller = callerOf(request);
  requirePermission(caller, 'jobs:cancel');
  const jobId = uuidOf(request, 'job');
  const body = cancelCheck.parse(request.body);
  const outcome = await stopJob(deps.database, { jobId, ...stopOrderOf(caller, body) });
  if (outcome.kind === 'nonce_reused') throw nonceReused();
  if (outcome.kind === 'not_found') throw notFound('job');
  if (outcome.kind === 'stopped') {
    if (outcome.run !== null) deps.hints.publish({ kind: 'node', nodeId: outcome.run.nodeId });
    deps.hints.publish({ kind: 'job', jobId });
    deps.hints.publish({ kind: 'schedule' });
  }
  const read = () => requireJob(jobId, caller, deps);
  return oneJobView(await awaitTeardown({ jobId, waitMs: body.wait_ms ?? 0, read, hints: deps.hints }), deps);
}

async function requireJob(id: string, caller: Caller, deps: JobDeps): Promise<JobRecord> {
  const job = await deps.jobReader.get({ id, accountId: caller.accountId });
  if (job === null) throw notFound('job');
  return job;
}

/** Told with the reason to wait: before a pass has looked there is no line to stand in. */
async function queuePosition(job: Job, { scheduling }: JobDeps): Promise<number | null> {
  return job.pending_reason === null ? null : scheduling.queuePosition(job.uuid);
}

async function oneJobView(job: JobRecord, deps: JobDeps): Promise<Job> {
  const [view] = await jobViews([job], deps);
  if (view === undefined) throw new Error('A job has a view.');
  return view;
}

/** Views of jobs; those that wait get their shape's reason, read once for all. */
async function jobViews(jobs: readonly JobRecord[], deps: JobDeps): Promise<Job[]> {
  const waiting = jobs.filter((job) => job.status === 'PENDING');
  const shapes = [...new Set(waiting.flatMap(shapesOf))];
  const reasons = shapes.length === 0 ? new Map<string, PendingReason>() : await deps.reasonsOf(shapes);
  return jobs.map((job) => {
    const shape = job.status === 'PENDING' ? shapesOf(job).find((key) => reasons.has(key)) : undefined;
    const pendingReason = shape === undefined ? null : (reasons.get(shape) ?? null);
    return jobView(job, { pendingReason, gateway: deps.gateway });
  });
}

/** The scheduler tells shapes apart by account only where the account has nodes of its own. */
function shapesOf({ spec, accountId }: JobRecord): string[] {
  return [shapeKeyOf(needOf(spec.requirements, accountId)), shapeKeyOf(needOf(spec.requirements, null))];
}
