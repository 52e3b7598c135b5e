// Budgets of live jobs: what each has used by now, its warnings, and its renewals.
import type { Budget, BudgetLimit, BudgetNote, BudgetUse } from '../domain/budget.ts';
import { defaultStopGraceMs } from '../domain/transition.ts';
import type { Sql } from './database.ts';

export interface BudgetedJob {
  id: string;
  accountId: string;
  budget: Budget;
  use: BudgetUse;
  warned: string[];
  /** What samples have shown of its run by now; null: it has none, or no idle timeout. */
  activity: RunActivity | null;
}

export interface RunActivity {
  runId: string;
  /** Epoch milliseconds: of the last sign of use, and of the last sample. */
  activeAtMs: number;
  seenAtMs: number;
}

interface BudgetRow {
  id: string;
  account_id: string;
  max_cost_micros: number | null;
  renew_within_ms: number | null;
  idle_timeout_ms: number | null;
  spent: number;
  rate: number;
  grace: number;
  unrenewed_ms: number | null;
  run_id: string | null;
  active_at: number | null;
  seen_at: number | null;
  warned: string[];
}

/** Below all of these a run is idle: a tenth of a CPU, a fiftieth of its GPUs, a kilobyte a second. */
const inUse = `m.cpu_cores is null or m.cpu_cores > 0.1 or m.gpu_utilisation > 0.02
  or m.network_bytes * 1000 > m.span_ms::bigint * 1024`;

/**
 * Samples count as far as they follow each other: what nobody saw for a minute is not idle. They come every ten seconds,
 * so nobody looks more often.
 */
const selectBudgets = {
  name: 'select_budgets',
  text: `
    with live as materialized (
      select j.id, j.account_id, j.max_cost_micros, j.renew_within_ms, j.idle_timeout_ms, j.started_at, j.renewed_at,
        j.last_run_id
      from jobs j where j.status in ('PENDING', 'ASSIGNED', 'RUNNING')
        and (j.max_cost_micros is not null or j.renew_within_ms is not null or j.idle_timeout_ms is not null)
        and j.id > $1 order by j.id limit $2
    )
    select l.id, l.account_id, l.max_cost_micros, l.renew_within_ms, l.idle_timeout_ms,
      case when l.max_cost_micros is null then 0 else (
        select coalesce(sum(flotilla_cost_micros(x.hourly_rate_micros, flotilla_billed_ms(x, flotilla_now()))), 0)
        from job_runs x where x.job_id = l.id and x.hourly_rate_micros > 0 and x.started_at is not null) end::bigint as spent,
      case when r.id is null then 0 else r.hourly_rate_micros end as rate, coalesce(r.stop_grace_ms, $3) as grace,
      extract(epoch from flotilla_now() - greatest(l.started_at, l.renewed_at))::float8 * 1000 as unrenewed_ms,
      r.id as run_id, coalesce(a.active_at, k.active_at) as active_at, coalesce(a.seen_at, k.seen_at) as seen_at,
      coalesce(s.warned, '{}') as warned
    from live l
    left join budget_states s on s.job_id = l.id
    left join job_runs r on r.id = l.last_run_id and r.status = 'RUNNING'
    left join lateral (
      select case when s.run_id = r.id then s.active_at else r.started_at end as active_at,
        case when s.run_id = r.id then s.seen_at else r.started_at end as seen_at
    ) k on r.id is not null and l.idle_timeout_ms is not null
    left join lateral (
      select greatest(k.active_at, max(m.at) filter (where ${inUse}
          or m.at - m.span_ms * interval '1 millisecond' > m.before + interval '1 minute')) as active_at, max(m.at) as seen_at
      from (select n.*, lag(n.at, 1, k.seen_at) over (order by n.at) as before from run_samples n
        where n.run_id = r.id and n.at > k.seen_at) m
      having count(*) > 0
    ) a on k.seen_at <= flotilla_now() - interval '10 seconds'
    order by l.id`,
};

/** Live jobs with a budget, by id after `afterId`. */
export async function listBudgets(
  sql: Sql,
  { afterId, limit }: { afterId: string; limit: number },
): Promise<BudgetedJob[]> {
  const rows = await sql.query<BudgetRow>(selectBudgets, [afterId, limit, defaultStopGraceMs]);
  return rows.map((row) => {
    const { run_id: runId, active_at: activeAtMs, seen_at: seenAtMs } = row;
    const activity =
      runId === null || activeAtMs === null || seenAtMs === null ? null : { runId, activeAtMs, seenAtMs };
    return {
      id: row.id,
      accountId: row.account_id,
      budget: {
        maxCostMicros: row.max_cost_micros,
        renewWithinMs: row.renew_within_ms,
        idleTimeoutMs: row.idle_timeout_ms,
      },
      use: {
        spentMicros: row.spent,
        rateMicros: row.rate,
        graceMs: row.grace,
        unrenewedMs: row.unrenewed_ms,
        idleMs: activity === null ? 0 : activity.seenAtMs - activity.activeAtMs,
      },
      warned: row.warned,
      activity,
    };
  });
}

export interface BudgetNews {
  jobId: string;
  activity: RunActivity | null;
  warned: readonly BudgetLimit[];
  warnings: readonly BudgetNote[];
}

/** Keeps what was seen, and tells of each warning with an event. */
export async function writeBudgets(
  sql: Sql,
  news: readonly BudgetNews[],
  actor: Record<string, unknown>,
): Promise<void> {
  const rows = news.map(({ jobId, activity, warned, warnings }) => ({
    job_id: jobId,
    run_id: activity?.runId ?? null,
    active_at: activity?.activeAtMs ?? null,
    seen_at: activity?.seenAtMs ?? null,
    warned,
    warnings: warnings.map(({ limit, text }) => ({ code: 'budget', limit, text })),
  }));
  await sql.query(
    `with input as materialized (
       select * from json_to_recordset($1::json) as i(job_id uuid, run_id uuid, active_at float8, seen_at float8,
         warned text[], warnings jsonb)
     ), states as (
       insert into budget_states (job_id, run_id, active_at, seen_at, warned)
       select i.job_id, i.run_id, to_timestamp(i.active_at / 1000), to_timestamp(i.seen_at / 1000), i.warned from input i
       order by i.job_id
       on conflict (job_id) do update set run_id = excluded.run_id, active_at = excluded.active_at,
         seen_at = excluded.seen_at, warned = excluded.warned
     )
     insert into job_events (created_at, job_id, run_id, kind, from_status, to_status, actor, detail)
     select flotilla_now(), j.id, j.last_run_id, 'budget_warning', j.status, j.status, $2, w.detail
     from input i join jobs j on j.id = i.job_id cross join jsonb_array_elements(i.warnings) w(detail)
     where j.status in ('PENDING', 'ASSIGNED', 'RUNNING')`,
    [JSON.stringify(rows), JSON.stringify(actor)],
  );
}

/** Forgets what was seen of jobs that have ended. */
export async function dropBudgetStates(sql: Sql): Promise<void> {
  await sql.query(`delete from budget_states s where not exists (select from jobs j where j.id = s.job_id
    and j.status in ('PENDING', 'ASSIGNED', 'RUNNING'))`);
}

/** The job's time without a renewal begins anew. */
export async function renewJob(
  sql: Sql,
  job: { jobId: string; accountId: string; actor: Record<string, unknown> },
): Promise<'renewed' | 'not_found' | 'ended' | 'no_limit'> {
  const [row] = await sql.query<{ is_live: boolean; has_limit: boolean }>(
    `with job as (
       select j.id, j.status in ('PENDING', 'ASSIGNED', 'RUNNING') as is_live, j.renew_within_ms is not null as has_limit,
         j.status, j.last_run_id
       from jobs j where j.id = $1 and j.account_id = $2 for update
     ), renewed as (
       update jobs j set renewed_at = flotilla_now(), updated_at = flotilla_now()
       from job where j.id = job.id and job.is_live and job.has_limit
     ), events as (
       insert into job_events (created_at, job_id, run_id, kind, from_status, to_status, actor)
       select flotilla_now(), id, last_run_id, 'renewed', status, status, $3 from job where is_live and has_limit
     )
     select is_live, has_limit from job`,
    [job.jobId, job.accountId, JSON.stringify(job.actor)],
  );
  if (row === undefined) return 'not_found';
  if (!row.is_live) return 'ended';
  return row.has_limit ? 'renewed' : 'no_limit';
}
