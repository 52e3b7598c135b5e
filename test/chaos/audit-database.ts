// What the database must say after a chaos run: nothing lost, nothing changed after its end, everything given back.
import type pg from 'pg';
import type { Evidence, Finding, JobRow, RunRow } from './findings.ts';

const time = (column: string) => `(extract(epoch from ${column}) * 1000)::double precision as ${column}`;

export async function readRows(pool: pg.Pool): Promise<{ jobs: Map<string, JobRow>; runs: RunRow[] }> {
  const { rows: jobs } = await pool.query<JobRow>(`select id, status, ${time('completed_at')} from jobs`);
  const { rows: runs } = await pool.query<RunRow>(
    `select id, job_id, node_id, attempt, status, desired, exit_code, ${time('started_at')}, ${time('ended_at')},
       ${time('released_at')}, teardown_state, coalesce(receipt ? 'fenced', false) as is_fenced,
       (receipt #>> '{proof,is_log_complete}')::boolean as is_log_complete, status_detail ->> 'code' as code, status_reason as reason
     from job_runs order by created_at`,
  );
  return { jobs: new Map(jobs.map((job) => [job.id, job])), runs };
}

const terminal: readonly string[] = ['COMPLETED', 'FAILED', 'CANCELLED'];

/** Jobs that were acknowledged and are not there, or are not what an answer said. */
export function auditJobs({ jobs, acknowledged }: Evidence): Finding[] {
  return [...acknowledged.values()].flatMap(({ uuid, told }): Finding[] => {
    const job = jobs.get(uuid);
    if (job === undefined)
      return [{ kind: 'lost', text: 'acknowledged, yet not in the database', jobUuid: uuid }];
    if (told === null || told.status === job.status) return [];
    return [{ kind: 'changed', text: `told as ${told.status}, now ${job.status}`, jobUuid: uuid }];
  });
}

/** Jobs and runs that have not come to their end, and stops whose teardown has not. */
export function auditEnds({ jobs, runs }: Evidence): Finding[] {
  const stuckJobs = [...jobs.values()]
    .filter(({ status }) => !terminal.includes(status))
    .map((job): Finding => ({ kind: 'stuck', text: `the job is still ${job.status}`, jobUuid: job.id }));
  const ofRun = (run: RunRow, kind: Finding['kind'], text: string): Finding => ({
    kind,
    text,
    jobUuid: run.job_id,
    runUuid: run.id,
    node: run.node_id,
  });
  const stuckRuns = runs.flatMap((run) => {
    if (!terminal.includes(run.status)) return [ofRun(run, 'stuck', `the run is still ${run.status}`)];
    if (run.released_at === null) return [ofRun(run, 'leaked', `the run is ${run.status}, yet not released`)];
    return [];
  });
  const stops = runs
    .filter(({ teardown_state: state }) => state !== null && state !== 'verified' && state !== 'unverified')
    .map((run) => ofRun(run, 'stop', `its teardown is ${run.teardown_state}`));
  return [...stuckJobs, ...stuckRuns, ...stops];
}

/** Statuses that changed after they were final, and releases that were taken back: by the triggers of the watcher. */
export async function auditChanges(pool: pg.Pool): Promise<Finding[]> {
  const { rows } = await pool.query<{
    kind: string;
    row_id: string;
    was: string;
    becomes: string | null;
    at: Date;
  }>(
    `select kind, row_id, was, becomes, at from chaos_changes
     where was in ('COMPLETED', 'FAILED', 'CANCELLED') or becomes is null or (kind = 'release' and was is not null)`,
  );
  return rows.map(({ kind, row_id, was, becomes, at }) => ({
    kind: 'changed',
    text: `${kind}: ${was} became ${becomes ?? 'nothing'} at ${at.toISOString()}`,
    ...(kind === 'jobs' ? { jobUuid: row_id } : { runUuid: row_id }),
  }));
}

/** Shares of nodes, GPUs, public ports and access tokens that nobody has any more, and that were not given back. */
export async function auditShares(pool: pg.Pool): Promise<Finding[]> {
  const leaks = await Promise.all(
    shareQueries.map(async ({ what, sql }) => {
      const { rows } = await pool.query<{ row: string }>(
        `select row_to_json(leak)::text as row from (${sql}) leak`,
      );
      return rows.map(({ row }): Finding => ({ kind: 'leaked', text: `${what}: ${row}` }));
    }),
  );
  return leaks.flat();
}

const shareQueries = [
  {
    what: 'a node has given out',
    sql: `select id, name, cpu_allocated, ram_allocated, storage_allocated, run_count from nodes
      where abs(cpu_allocated) > 1e-6 or ram_allocated <> 0 or storage_allocated <> 0 or run_count <> 0`,
  },
  { what: 'a GPU is given out', sql: 'select * from gpu_allocations' },
  {
    what: 'a public port is held',
    sql: 'select port, run_id, is_open from gateway_ports where run_id is not null or is_open',
  },
  {
    what: 'an access token outlives its run',
    sql: `select id, status from job_runs where token_sealed is not null
      and status in ('COMPLETED', 'FAILED', 'CANCELLED')`,
  },
];

/** Every job that is CANCELLED was stopped once, by one request, and every stop that was answered is on record. */
export async function auditStops(pool: pg.Pool, { acknowledged, jobs }: Evidence): Promise<Finding[]> {
  const { rows } = await pool.query<{ id: string; status: string; stops: number }>(
    `select j.id, j.status, count(e.id)::integer as stops from jobs j
       left join job_events e on e.job_id = j.id and e.kind = 'stop_requested' group by j.id, j.status`,
  );
  return rows.flatMap(({ id, status, stops }): Finding[] => {
    const wanted = status === 'CANCELLED' ? 1 : 0;
    if (stops !== wanted)
      return [{ kind: 'stop', text: `${status} with ${stops} stops on record`, jobUuid: id }];
    const stoppedAtMs = acknowledged.get(id)?.stoppedAtMs ?? null;
    const completedAtMs = jobs.get(id)?.completed_at ?? Number.POSITIVE_INFINITY;
    if (stoppedAtMs !== null && completedAtMs > stoppedAtMs)
      return [{ kind: 'stop', text: `its stop was answered before it was ${status}`, jobUuid: id }];
    return [];
  });
}
