// Creates jobs, from a body or a recipe: one commit, at most one job for an Idempotency-Key, a cap on live jobs.
import { createHash } from 'node:crypto';
import type { FastifyRequest } from 'fastify';
import type { JobRecord } from '../db/job-rows.ts';
import type { SubmitOutcome } from '../db/job-submit.ts';
import { countLiveJobs, findJobByIdempotencyKey } from '../db/jobs.ts';
import type { Job } from '../protocol/job.ts';
import { actorOf, type Caller, callerOf } from './auth.ts';
import { insufficientCredit } from './credit-gate.ts';
import { ApiError, nonceReused, validationFailed } from './errors.ts';
import type { JobRequest } from './job-request.ts';
import { jobView } from './job-view.ts';
import { type JobDeps, oneJobView } from './job-views.ts';

/** Creates the job, or answers the one that its Idempotency-Key made before. `source`: the recipe it was cooked from. */
export async function createJob(
  request: FastifyRequest,
  { source = null, ...wanted }: JobRequest & { source?: { recipeId: string; version: number } | null },
  deps: JobDeps,
): Promise<Job> {
  const caller = callerOf(request);
  const idempotency = idempotencyOf(request, { caller, recipeId: source?.recipeId ?? null });
  if (await deps.creditGate.isBroke(caller.accountId)) {
    // The repeat of a submit that was accepted is answered, whatever happened since.
    const made = await findMade(idempotency, caller, deps);
    if (made === null) throw insufficientCredit();
    return made;
  }
  await checkLiveJobs(caller, deps);
  const job = {
    ...{ id: deps.newId(), accountId: caller.accountId, ...wanted },
    sourceRecipeUuid: source?.recipeId ?? null,
    sourceRecipeVersion: source?.version ?? null,
  };
  const actor = actorOf(caller);
  const outcome = await deps.submitter.submit({ ...job, actor, nonce: caller.nonce, idempotency });
  if (outcome.kind !== 'key_used') return accepted(job, outcome, deps);
  const made = await findMade(idempotency, caller, deps);
  if (made !== null) return made;
  // The key's first job is older than a day, and the key is free again by now.
  return accepted(job, await deps.submitter.submit({ ...job, actor, nonce: null, idempotency }), deps);
}

/** The job that this very cook made before: its answer stays, also when the recipe has changed or is archived since. */
export function findRepeated(request: FastifyRequest, recipeId: string, deps: JobDeps): Promise<Job | null> {
  const caller = callerOf(request);
  return findMade(idempotencyOf(request, { caller, recipeId }), caller, deps);
}

interface SubmittedJob extends JobRequest {
  id: string;
  accountId: string;
  sourceRecipeUuid: string | null;
  sourceRecipeVersion: number | null;
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
    renewedAtMs: null,
    lastRun: null,
  };
  return jobView(record, { pendingReason: null, gateway: deps.gateway });
}

interface Idempotency {
  key: string;
  hash: Buffer;
}

async function findMade(idempotency: Idempotency | null, caller: Caller, deps: JobDeps): Promise<Job | null> {
  if (idempotency === null) return null;
  const { key, hash } = idempotency;
  const first = await findJobByIdempotencyKey(deps.database, deps.vault, { ...caller, key });
  return first && replayed(first, hash, deps);
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

/** A repeat is the same body for the same recipe, or for none. */
function idempotencyOf(
  request: FastifyRequest,
  { caller, recipeId }: { caller: Caller; recipeId: string | null },
): Idempotency | null {
  const key = request.headers['idempotency-key'];
  if (key === undefined) return null;
  if (typeof key !== 'string' || !/^[\x21-\x7e]{1,255}$/.test(key)) {
    throw validationFailed([{ path: 'Idempotency-Key', expected: '1 to 255 visible ASCII characters' }]);
  }
  const body = JSON.stringify(request.body) ?? '';
  const hash = createHash('sha256')
    .update(caller.accountId)
    .update(recipeId ?? '')
    .update(body);
  return { key, hash: hash.digest() };
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
