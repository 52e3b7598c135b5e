// Stop Job, for one job or for all that match a filter; `flotilla_stop_jobs` decides both.
import { type JobStatus, jobStatuses } from '../domain/job.ts';
import { defaultStopGraceMs, teardownMarginMs } from '../domain/transition.ts';
import type { Sql } from './database.ts';
import { type Filter, whereOf } from './list-sql.ts';

export interface StopOrder {
  accountId: string;
  nonce: { keyId: string; value: string } | null;
  reason: string;
  detail: Record<string, unknown>;
  /** Milliseconds; null: each job's own grace, else the default. */
  graceMs: number | null;
  actor: Record<string, unknown>;
}

export interface JobStop extends StopOrder {
  jobId: string;
}

/** The run whose container must go. */
export interface StoppedRun {
  id: string;
  nodeId: string;
}

export type StopOutcome =
  | { kind: 'nonce_reused' | 'not_found' | 'unchanged' }
  /** `run` is null when none was live. */
  | { kind: 'stopped'; run: StoppedRun | null };

interface StopRow {
  outcome: 'nonce_reused' | 'stopped' | 'unchanged';
  job: string;
  job_title: string;
  was: JobStatus;
  run: string | null;
  node: string | null;
}

type Bind = (value: unknown) => string;

function binder(values: unknown[]): Bind {
  return (value) => `$${values.push(value)}`;
}

/** `account` is the placeholder that holds the account. */
function stopCall(
  bind: Bind,
  call: { ids: string; account: string; statuses: string; order: StopOrder },
): string {
  const { ids, account, statuses, order } = call;
  const { nonce, reason, detail, graceMs, actor } = order;
  const values = [nonce?.keyId ?? null, nonce?.value ?? null, reason, JSON.stringify(detail), graceMs];
  const rest = [...values, defaultStopGraceMs, teardownMarginMs, JSON.stringify(actor)].map(bind);
  return `flotilla_stop_jobs(${[ids, account, statuses, ...rest].join(', ')})`;
}

/** Stop Job in one statement: status, reason, event and desired state, or none of them. */
export async function stopJob(sql: Sql, stop: JobStop): Promise<StopOutcome> {
  const values: unknown[] = [];
  const bind = binder(values);
  const ids = `array[${bind(stop.jobId)}::uuid]`;
  const call = stopCall(bind, { ids, account: bind(stop.accountId), statuses: 'null', order: stop });
  const [row] = await sql.query<StopRow>({ name: 'stop_job', text: `select * from ${call}` }, values);
  if (row === undefined) return { kind: 'not_found' };
  return row.outcome === 'stopped' ? { kind: 'stopped', run: runOf(row) } : { kind: row.outcome };
}

function runOf({ run, node }: StopRow): StoppedRun | null {
  return run === null || node === null ? null : { id: run, nodeId: node };
}

/** Which jobs a bulk stop means: those that have not ended and match every filter, all over columns of `j`. */
export interface BulkStop {
  filters: readonly Filter[];
  order: StopOrder;
}

export interface MatchedJob {
  id: string;
  title: string;
  /** As the stop found it. */
  status: JobStatus;
  outcome: 'stopped' | 'would_stop' | 'unchanged';
  run: StoppedRun | null;
}

export type StopBatch =
  | { kind: 'nonce_reused' }
  /** Jobs in the order of their ids. `cutOffUs`: the database's time of the first batch, epoch microseconds. */
  | { kind: 'decided'; cutOffUs: number; jobs: MatchedJob[]; isLast: boolean };

/** Larger ones hold their locks for long, and save little. */
const batchSize = 2_000;

/**
 * Stops the oldest that match, in one statement. What was committed before it is seen; a job that left the filter's
 * statuses meanwhile is unchanged. With the cut-off of an earlier batch, nothing that was accepted later is stopped.
 */
export async function stopJobs(
  sql: Sql,
  { filters, order }: BulkStop,
  cutOffUs: number | null,
): Promise<StopBatch> {
  const { text, values } = candidates(filters, order.accountId);
  const bind = binder(values);
  const before = cutOffUs === null ? '' : ` and j.created_at <= ${timeOf(bind(cutOffUs))}`;
  const call = stopCall(bind, {
    ids: `array(select j.id ${text}${before} order by j.created_at, j.id limit ${batchSize})`,
    account: '$1',
    statuses: `${bind(wantedStatuses(filters))}::text[]`,
    order: cutOffUs === null ? order : { ...order, nonce: null },
  });
  const rows = await sql.query<StopRow & { now_us: number }>(
    `select s.*, ${nowUs} as now_us from (select) one left join ${call} s on true`,
    values,
  );
  if (rows[0]?.outcome === 'nonce_reused') return { kind: 'nonce_reused' };
  const jobs = rows.flatMap((row) => (row.job === null ? [] : [toMatchedJob(row, row.outcome)]));
  return {
    kind: 'decided',
    cutOffUs: cutOffUs ?? rows[0]?.now_us ?? 0,
    jobs,
    isLast: jobs.length < batchSize,
  };
}

/** What a stop would stop now, the oldest first: at most `limit` of them, and how many in all (to a million). */
export async function findJobsToStop(
  sql: Sql,
  { filters, order }: BulkStop,
  limit: number,
): Promise<{ cutOffUs: number; jobs: MatchedJob[]; total: number }> {
  const { text, values } = candidates(filters, order.accountId);
  const rows = await sql.query<StopRow & { now_us: number; total: number }>(
    `with found as materialized (select j.id, j.title, j.status, j.last_run_id ${text} order by j.created_at, j.id limit 1000000)
     select f.id as job, f.title as job_title, f.status as was, r.id as run, r.node_id as node, ${nowUs} as now_us,
       (select count(*) from found) as total
     from (select) one left join (select * from found limit ${limit}) f on true
     left join job_runs r on r.id = f.last_run_id and r.status in ('ASSIGNED', 'PREPARING', 'RUNNING')`,
    values,
  );
  const jobs = rows.flatMap((row) => (row.job === null ? [] : [toMatchedJob(row, 'would_stop')]));
  return { cutOffUs: rows[0]?.now_us ?? 0, jobs, total: rows[0]?.total ?? 0 };
}

/** The account's jobs among these, in whatever state: for those a filter named that were not stopped. */
export async function findNamedJobs(
  sql: Sql,
  { accountId, ids }: { accountId: string; ids: readonly string[] },
): Promise<MatchedJob[]> {
  const rows = await sql.query<{ id: string; title: string; status: JobStatus }>(
    'select id, title, status from jobs where id = any ($1::uuid[]) and account_id = $2 order by id',
    [ids, accountId],
  );
  return rows.map((row) => ({ ...row, outcome: 'unchanged', run: null }));
}

const nowUs = '(extract(epoch from flotilla_now()) * 1000000)::bigint';

function timeOf(placeholder: string): string {
  return `'epoch'::timestamptz + ${placeholder}::bigint * interval '1 microsecond'`;
}

function candidates(filters: readonly Filter[], accountId: string): { text: string; values: unknown[] } {
  const where = whereOf({ filters }, { column: 'j.account_id', value: accountId });
  return {
    text: `from jobs j where ${where.text} and j.status in ('PENDING', 'ASSIGNED', 'RUNNING')`,
    values: where.values,
  };
}

/** The filter's job statuses, looked at again under the lock; null: any. */
function wantedStatuses(filters: readonly Filter[]): JobStatus[] | null {
  const words = filters.flatMap((filter) =>
    filter.kind === 'words' && filter.column === 'j.status' ? [filter.words] : [],
  );
  if (words.length === 0) return null;
  return jobStatuses.filter((status) => words.every((list) => list.includes(status)));
}

function toMatchedJob(row: StopRow, outcome: StopRow['outcome'] | 'would_stop'): MatchedJob {
  if (outcome === 'nonce_reused') throw new Error('A job has no nonce.');
  return { id: row.job, title: row.job_title, status: row.was, outcome, run: runOf(row) };
}
