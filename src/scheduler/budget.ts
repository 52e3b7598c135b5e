// Budgets of jobs: each look warns consumers of limits that are near, and stops the jobs that reached one.
import { type BudgetedJob, listBudgets, writeBudgets } from '../db/budgets.ts';
import type { Database } from '../db/database.ts';
import type { Hints } from '../db/hints.ts';
import { stopJob } from '../db/job-stops.ts';
import { type BudgetNote, decideBudget } from '../domain/budget.ts';

export interface BudgetDeps {
  database: Database;
  hints: Hints;
}

const pageSize = 2_000;
const firstId = '00000000-0000-0000-0000-000000000000';

/** All live jobs that have a budget. */
export async function enforceBudgets(deps: BudgetDeps, actor: Record<string, unknown>): Promise<void> {
  let afterId = firstId;
  let jobs: BudgetedJob[];
  do {
    jobs = await listBudgets(deps.database, { afterId, limit: pageSize });
    afterId = jobs.at(-1)?.id ?? afterId;
    await enforcePage(jobs, { ...deps, actor });
  } while (jobs.length === pageSize);
}

async function enforcePage(
  jobs: readonly BudgetedJob[],
  { actor, ...deps }: BudgetDeps & { actor: Record<string, unknown> },
): Promise<void> {
  const decided = jobs.map((job) => ({ job, ...decideBudget(job.budget, job.use, job.warned) }));
  const news = decided
    .filter(({ job, warned }) => job.activity !== null || warned.join() !== job.warned.join())
    .map(({ job, warned, warnings }) => ({ jobId: job.id, activity: job.activity, warned, warnings }));
  if (news.length > 0) await writeBudgets(deps.database, news, actor);
  for (const { jobId, warnings } of news) if (warnings.length > 0) deps.hints.publish({ kind: 'job', jobId });
  for (const { job, stop } of decided)
    if (stop !== null) await stopForMoney(deps, { job, why: { code: 'budget', ...stop }, actor });
}

/** The same stop that a consumer asks for, with the job's own grace. */
export async function stopForMoney(
  { database, hints }: BudgetDeps,
  {
    job,
    why,
    actor,
  }: {
    job: { id: string; accountId: string };
    why: { code: string; text: string } & Partial<BudgetNote>;
    actor: Record<string, unknown>;
  },
): Promise<void> {
  const detail = { ...why, by: actor };
  const order = { nonce: null, reason: why.text, detail, graceMs: null, actor };
  const stopped = await stopJob(database, { jobId: job.id, accountId: job.accountId, ...order });
  if (stopped.kind !== 'stopped') return;
  if (stopped.run !== null) hints.publish({ kind: 'node', nodeId: stopped.run.nodeId });
  hints.publish({ kind: 'job', jobId: job.id });
  hints.publish({ kind: 'schedule' });
}
