// Route of renewals: a job that is stopped unless somebody renews it goes on.
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { renewJob } from '../../db/budgets.ts';
import { claimNonce } from '../../db/nonces.ts';
import { Job, RenewJobBody } from '../../protocol/job.ts';
import { actorOf, callerOf, requirePermission } from '../auth.ts';
import { ApiError, nonceReused, notFound } from '../errors.ts';
import { type JobDeps, oneJobView } from '../job-views.ts';
import { uuidOf, uuidParams } from '../route-parts.ts';
import { bodyCheck } from '../validate.ts';

const renewCheck = bodyCheck(RenewJobBody);

export function jobRenewalRoutes(app: FastifyInstance, deps: JobDeps): void {
  app.post(
    '/v1/jobs/:uuid/renew',
    {
      schema: {
        tags: ['Jobs'],
        summary: 'Renew a job, so that it goes on for its renew_within_ms from now',
        params: uuidParams,
        body: RenewJobBody,
        response: { 200: Job },
      },
    },
    (request) => renew(request, deps),
  );
}

async function renew(request: FastifyRequest, deps: JobDeps): Promise<Job> {
  const caller = callerOf(request);
  requirePermission(caller, 'jobs:create');
  const jobId = uuidOf(request, 'job');
  renewCheck.parse(request.body);
  const { accountId, nonce } = caller;
  const outcome = await deps.database.transaction(async (sql) => {
    if (!(await claimNonce(sql, nonce.keyId, nonce.value))) throw nonceReused();
    return renewJob(sql, { jobId, accountId, actor: actorOf(caller) });
  });
  if (outcome === 'not_found') throw notFound('job');
  if (outcome === 'ended') throw new ApiError('conflict', 'This job has ended; submit it again.');
  if (outcome === 'no_limit')
    throw new ApiError('conflict', 'This job has no renew_within_ms and goes on without being renewed.');
  deps.hints.publish({ kind: 'job', jobId });
  const job = await deps.jobReader.get({ id: jobId, accountId });
  if (job === null) throw notFound('job');
  return oneJobView(job, deps);
}
