// Views of jobs with what is read beside them: why they wait.
import type { JobRecord } from '../db/job-rows.ts';
import { createJobReader, type JobReader } from '../db/jobs.ts';
import { createReasonReader } from '../db/placement.ts';
import { needOf, shapeKeyOf } from '../domain/placement-need.ts';
import type { Job, PendingReason } from '../protocol/job.ts';
import { type CreditGate, createCreditGate } from './credit-gate.ts';
import type { ApiDeps } from './deps.ts';
import { jobView } from './job-view.ts';

export interface JobDeps extends ApiDeps {
  jobReader: JobReader;
  creditGate: CreditGate;
  reasonsOf: (shapes: readonly string[]) => Promise<Map<string, PendingReason>>;
}

/** Readers that gather what is asked at the same time: one set for all routes. */
export function withJobReaders(deps: ApiDeps): JobDeps {
  const { database, vault } = deps;
  return {
    ...deps,
    jobReader: createJobReader(database, vault),
    reasonsOf: createReasonReader(database),
    creditGate: createCreditGate(database),
  };
}

export async function oneJobView(job: JobRecord, deps: JobDeps): Promise<Job> {
  const [view] = await jobViews([job], deps);
  if (view === undefined) throw new Error('A job has a view.');
  return view;
}

/** Views of jobs; those that wait get their shape's reason, read once for all. */
export async function jobViews(jobs: readonly JobRecord[], deps: JobDeps): Promise<Job[]> {
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
