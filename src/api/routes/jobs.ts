// Routes of jobs: create, list, get, and Stop Job.
import type { FastifyInstance, FastifyRequest } from 'fastify';
import Type from 'typebox';
import type { JobRecord } from '../../db/job-rows.ts';
import { stopJob } from '../../db/job-stops.ts';
import { listJobs } from '../../db/jobs.ts';
import { CancelJobBody, CreateJobBody, Job, JobList } from '../../protocol/job.ts';
import { JobDryRun } from '../../protocol/offer.ts';
import { type Caller, callerOf, requirePermission } from '../auth.ts';
import { nonceReused, notFound } from '../errors.ts';
import { createJob } from '../job-creation.ts';
import { dryRunJob, isDryRun } from '../job-dry-run.ts';
import { jobFilters } from '../job-filters.ts';
import { type JobRequest, readJobRequest } from '../job-request.ts';
import { type JobDeps, jobViews, oneJobView } from '../job-views.ts';
import { parseListQuery } from '../list-query.ts';
import { listOf, listQuerySchema, rawQueryOf, uuidOf, uuidParams } from '../route-parts.ts';
import { stopOrderOf } from '../stop-order.ts';
import { awaitTeardown } from '../teardown-wait.ts';
import { bodyCheck } from '../validate.ts';
import { jobRenewalRoutes } from './job-renewals.ts';

const cancelCheck = bodyCheck(CancelJobBody);
const tags = ['Jobs'];

export function jobRoutes(app: FastifyInstance, deps: JobDeps): void {
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
  jobRenewalRoutes(app, deps);
}

export const idempotencyHeader = Type.Object({
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
  const { hints, traffic } = deps;
  const wait = { jobId, waitMs: body.wait_ms ?? 0, read, hints, stopping: traffic.stopping };
  return oneJobView(await awaitTeardown(wait), deps);
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
