// Answers `POST /v1/jobs?dry_run=true`: the body is checked as a create's is, and nothing is created.
import type { FastifyRequest } from 'fastify';
import { claimNonce } from '../db/nonces.ts';
import { type Candidate, dryRun } from '../domain/dry-run.ts';
import { toUsd } from '../domain/price.ts';
import type { JobDryRun } from '../protocol/offer.ts';
import type { Caller } from './auth.ts';
import { nodesOpenTo } from './capacity.ts';
import type { ApiDeps } from './deps.ts';
import { nonceReused, validationFailed } from './errors.ts';
import type { JobRequest } from './job-request.ts';
import { rawQueryOf } from './route-parts.ts';

const maxCandidates = 20;

/** Whether the query asks for it; any other query is refused, since a misspelt or contradicting one would create the job. */
export function isDryRun(request: FastifyRequest): boolean {
  const given = [...new URLSearchParams(rawQueryOf(request))];
  const wrong = given.find(([name, value]) => name !== 'dry_run' || !['true', 'false'].includes(value));
  if (wrong !== undefined || given.length > 1)
    throw validationFailed([
      {
        path: wrong?.[0].slice(0, 80) ?? 'dry_run',
        expected: 'dry_run=true, dry_run=false, or no query at all',
      },
    ]);
  return given[0]?.[1] === 'true';
}

export async function dryRunJob(
  { spec }: JobRequest,
  { caller, deps }: { caller: Caller; deps: ApiDeps },
): Promise<JobDryRun> {
  const { database, capacity, trustTenants } = deps;
  if (!(await claimNonce(database, caller.nonce.keyId, caller.nonce.value))) throw nonceReused();
  const now = await capacity.read();
  const job = {
    id: deps.newId(),
    accountId: caller.accountId,
    priority: spec.priority,
    submittedAtMs: now.readAtMs,
    waitingSinceMs: now.readAtMs,
    requirements: spec.requirements,
    avoidNodeIds: [],
  };
  const nodes = nodesOpenTo(now, caller.accountId, trustTenants);
  const { candidates, candidateCount, reason } = dryRun(nodes, job, {
    prices: now.prices,
    limit: maxCandidates,
    trustTenants,
  });
  const [first] = candidates;
  return {
    object: 'job_dry_run',
    would_start_now: first !== undefined,
    hourly_rate_usd: first === undefined ? null : toUsd(first.hourlyRateMicros),
    candidate_count: candidateCount,
    candidates: candidates.map(candidateView),
    excluded: reason.excluded,
    nodes_considered: reason.nodesConsidered,
    message: first === undefined ? reason.message : null,
  };
}

function candidateView({ node, gpuUuids, hourlyRateMicros }: Candidate): JobDryRun['candidates'][number] {
  return {
    node_uuid: node.id,
    region_code: node.regionCode,
    gpus: node.gpus
      .filter(({ uuid }) => gpuUuids.includes(uuid))
      .map(({ name, registryUuid }) => ({ name, gpu_registry_uuid: registryUuid })),
    hourly_rate_usd: toUsd(hourlyRateMicros),
  };
}
