// The route of the bulk stop: every job of the account that matches, in a few large statements.
import type { FastifyInstance, FastifyRequest } from 'fastify';
import {
  type BulkStop,
  findJobsToStop,
  findNamedJobs,
  type MatchedJob,
  stopJobs,
} from '../../db/job-stops.ts';
import { claimNonce } from '../../db/nonces.ts';
import { CancelJobsBody, type JobStopOutcome, JobStops } from '../../protocol/job-stop.ts';
import { callerOf, requirePermission } from '../auth.ts';
import type { ApiDeps } from '../deps.ts';
import { nonceReused, validationFailed } from '../errors.ts';
import { readJobFilter } from '../job-filters.ts';
import { stopOrderOf } from '../stop-order.ts';
import { bodyCheck } from '../validate.ts';

const bodyOf = bodyCheck(CancelJobsBody);
/** Outcomes of single jobs in an answer; the counts tell of all. */
const maxOutcomes = 1_000;
/** Clients wait 30 s for an answer. */
const maxCallMs = 20_000;

export function jobStopRoutes(app: FastifyInstance, deps: ApiDeps): void {
  app.post(
    '/v1/jobs/cancel',
    {
      schema: {
        tags: ['Jobs'],
        summary: 'Stop every job that matches',
        description:
          'Stops jobs of the account that have not ended, among them every one whose submit was answered before the call. Repeating it is safe. Without a filter it takes `all: true`.',
        body: CancelJobsBody,
        response: { 200: JobStops },
      },
    },
    (request) => cancelJobs(request, deps),
  );
}

async function cancelJobs(request: FastifyRequest, deps: ApiDeps): Promise<JobStops> {
  const caller = callerOf(request);
  requirePermission(caller, 'jobs:cancel');
  const body = bodyOf.parse(request.body);
  const stop = { filters: filtersOf(body), order: stopOrderOf(caller, body) };
  const tally = createTally();
  const { cutOffUs, isComplete } = await (body.dry_run
    ? look(stop, tally, deps)
    : stopAll(stop, tally, deps));
  const named = stop.filters.flatMap((filter) => (filter.kind === 'uuids' ? filter.uuids : []));
  if (named.length > 0) await tellTheRest(named, tally, { accountId: caller.accountId, deps });
  return {
    object: 'job_stops',
    dry_run: body.dry_run ?? false,
    cut_off_at: new Date(cutOffUs / 1000).toISOString(),
    is_complete: isComplete,
    counts: tally.counts,
    jobs: tally.outcomes,
  };
}

/** A stop of everything must be said in words: an empty filter may be a mistake. */
function filtersOf({ filter = {}, all = false }: CancelJobsBody): BulkStop['filters'] {
  const { filters, issues } = readJobFilter(filter);
  if (issues.length > 0) throw validationFailed(issues);
  if (filters.length === 0 && !all)
    throw validationFailed([{ path: 'filter', expected: 'at least one filter, or all: true in its place' }]);
  if (filters.length > 0 && all)
    throw validationFailed([{ path: 'all', expected: 'all: true or a filter, not both' }]);
  return filters;
}

interface Tally {
  counts: JobStops['counts'];
  outcomes: JobStopOutcome[];
  add(jobs: readonly MatchedJob[]): void;
  addUnknown(uuids: readonly string[]): void;
}

function createTally(): Tally {
  const counts = { stopped: 0, would_stop: 0, unchanged: 0, not_found: 0 };
  const outcomes: JobStopOutcome[] = [];
  const add = (outcome: JobStopOutcome) => {
    counts[outcome.outcome] += 1;
    if (outcomes.length < maxOutcomes) outcomes.push(outcome);
  };
  return {
    counts,
    outcomes,
    add(jobs) {
      for (const { id, outcome, title, status, run } of jobs)
        add({ uuid: id, outcome, title, previous_status: status, has_container: run !== null });
    },
    addUnknown(uuids) {
      for (const uuid of uuids)
        add({ uuid, outcome: 'not_found', title: null, previous_status: null, has_container: false });
    },
  };
}

interface Done {
  cutOffUs: number;
  isComplete: boolean;
}

/** Batch by batch: what is stopped stays stopped, and its nodes hear of it while the next batch is written. */
async function stopAll(stop: BulkStop, tally: Tally, deps: ApiDeps): Promise<Done> {
  const giveUpAtMs = performance.now() + maxCallMs;
  let cutOffUs: number | null = null;
  for (;;) {
    const batch = await stopJobs(deps.database, stop, cutOffUs);
    if (batch.kind === 'nonce_reused') throw nonceReused();
    cutOffUs = batch.cutOffUs;
    tally.add(batch.jobs);
    tell(batch.jobs, deps);
    if (batch.isLast || performance.now() >= giveUpAtMs) return { cutOffUs, isComplete: batch.isLast };
  }
}

/** Whoever waits for a job waits for its container: of those that had none nobody needs to hear. */
function tell(jobs: readonly MatchedJob[], { hints }: ApiDeps): void {
  const runs = jobs.flatMap(({ id, run }) => (run === null ? [] : [{ jobId: id, nodeId: run.nodeId }]));
  for (const nodeId of new Set(runs.map((run) => run.nodeId))) hints.publish({ kind: 'node', nodeId });
  for (const { jobId } of runs) hints.publish({ kind: 'job', jobId });
  if (jobs.length > 0) hints.publish({ kind: 'schedule' });
}

async function look(stop: BulkStop, tally: Tally, { database }: ApiDeps): Promise<Done> {
  const { nonce } = stop.order;
  if (nonce !== null && !(await claimNonce(database, nonce.keyId, nonce.value))) throw nonceReused();
  const { cutOffUs, jobs, total } = await findJobsToStop(database, stop, maxOutcomes);
  tally.add(jobs);
  tally.counts.would_stop = total;
  return { cutOffUs, isComplete: true };
}

/** Every uuid that was named gets an answer. */
async function tellTheRest(
  named: readonly string[],
  tally: Tally,
  { accountId, deps }: { accountId: string; deps: ApiDeps },
): Promise<void> {
  const told = new Set(tally.outcomes.map(({ uuid }) => uuid));
  const ids = [...new Set(named.map((uuid) => uuid.toLowerCase()))].filter((uuid) => !told.has(uuid));
  if (ids.length === 0) return;
  const found = await findNamedJobs(deps.database, { accountId, ids });
  tally.add(found);
  const known = new Set(found.map(({ id }) => id));
  tally.addUnknown(ids.filter((id) => !known.has(id)));
}
