// Job runs: get and list for the API, and what a node should run.
import type { ContainerSpec, JobRunStatus, PublishedPort, TeardownState } from '../domain/job.ts';
import type { TeardownRecord } from '../domain/transition.ts';
import type { Sql } from './database.ts';
import { type StoredPorts, toPublishedPorts } from './gateway-ports.ts';
import { type JobRow, openToken, toContainerSpec, toTeardown } from './job-rows.ts';
import { countRows, type ListQuery, type ListResult, orderAndPage, whereOf } from './list-sql.ts';
import type { Vault } from './vault.ts';

export interface JobRunRecord {
  id: string;
  jobId: string;
  jobTitle: string;
  accountId: string;
  nodeId: string;
  attempt: number;
  status: JobRunStatus;
  createdAtMs: number;
  updatedAtMs: number;
  startedAtMs: number | null;
  endedAtMs: number | null;
  releasedAtMs: number | null;
  exitCode: number | null;
  exitSignal: string | null;
  isOomKilled: boolean;
  statusReason: string | null;
  statusDetail: Record<string, unknown> | null;
  teardown: TeardownRecord | null;
  gpuUuids: readonly string[];
  progress: unknown;
  imageDigest: string | null;
  /** Fixed at the placement. */
  hourlyRateMicros: number;
  ports: readonly PublishedPort[];
  /** In clear; null when there is none, or once it is revoked. */
  accessToken: string | null;
  refusedCount: number;
  /** Every byte that its container wrote was stored, save the gap; null: nobody could say (yet). */
  isLogComplete: boolean | null;
  /** The database's time of this read, for a duration that grows. */
  readAtMs: number;
}

interface JobRunRow {
  id: string;
  job_id: string;
  job_title: string;
  account_id: string;
  node_id: string;
  attempt: number;
  status: JobRunStatus;
  created_at: number;
  updated_at: number;
  started_at: number | null;
  ended_at: number | null;
  released_at: number | null;
  exit_code: number | null;
  exit_signal: string | null;
  is_oom_killed: boolean;
  status_reason: string | null;
  status_detail: Record<string, unknown> | null;
  teardown_state: TeardownState | null;
  teardown_requested_at: number | null;
  teardown_deadline_at: number | null;
  gpu_uuids: string[];
  progress: unknown;
  image_digest: string | null;
  hourly_rate_micros: number;
  ports: StoredPorts;
  token_sealed: Buffer | null;
  refused_count: number;
  is_log_complete: boolean | null;
  read_at: number;
}

const runColumns = `r.*, j.title as job_title, flotilla_now() as read_at,
  (select coalesce(sum(g.refused_count), 0)::integer from gateway_ports g where g.run_id = r.id) as refused_count`;
const runTables = 'job_runs r join jobs j on j.id = r.job_id';

export async function getJobRun(
  sql: Sql,
  vault: Vault,
  run: { id: string; accountId: string },
): Promise<JobRunRecord | null> {
  const [row] = await sql.query<JobRunRow>(
    {
      name: 'select_job_run',
      text: `select ${runColumns} from ${runTables} where r.id = $1 and r.account_id = $2`,
    },
    [run.id, run.accountId],
  );
  return row === undefined ? null : toJobRunRecord(row, vault);
}

export async function listJobRuns(
  sql: Sql,
  vault: Vault,
  query: ListQuery & { accountId: string },
): Promise<ListResult<JobRunRecord>> {
  const where = whereOf(query, { column: 'r.account_id', value: query.accountId });
  const rows = await sql.query<JobRunRow>(
    `select ${runColumns} from ${runTables} where ${where.text} ${orderAndPage(query, 'r')}`,
    where.values,
  );
  const count = await countRows(sql, { tables: runTables, where, query, found: rows.length });
  return { items: rows.map((row) => toJobRunRecord(row, vault)), ...count };
}

function toJobRunRecord(row: JobRunRow, vault: Vault): JobRunRecord {
  return {
    id: row.id,
    jobId: row.job_id,
    jobTitle: row.job_title,
    accountId: row.account_id,
    nodeId: row.node_id,
    attempt: row.attempt,
    status: row.status,
    createdAtMs: row.created_at,
    updatedAtMs: row.updated_at,
    startedAtMs: row.started_at,
    endedAtMs: row.ended_at,
    releasedAtMs: row.released_at,
    exitCode: row.exit_code,
    exitSignal: row.exit_signal,
    isOomKilled: row.is_oom_killed,
    statusReason: row.status_reason,
    statusDetail: row.status_detail,
    teardown: toTeardown(row),
    gpuUuids: row.gpu_uuids,
    progress: row.progress,
    imageDigest: row.image_digest,
    hourlyRateMicros: row.hourly_rate_micros,
    ports: row.status === 'RUNNING' ? toPublishedPorts(row.ports) : [],
    accessToken: openToken(vault, row.id, row.token_sealed),
    refusedCount: row.refused_count,
    isLogComplete: row.is_log_complete,
    readAtMs: row.read_at,
  };
}

/** What one node should know of one of its runs. */
export interface NodeRun {
  nodeId: string;
  runId: string;
  jobId: string;
  attempt: number;
  status: JobRunStatus;
  desired: 'run' | 'stop';
  stopGraceMs: number | null;
  /** Milliseconds since the stop was asked for. */
  stopAgeMs: number | null;
  /** Opens the secrets: only for what is really sent. */
  container: () => ContainerSpec;
  accessToken: () => string | null;
  cpuCount: number;
  ramBytes: number;
  storageBytes: number;
  gpuUuids: string[];
  /** As an agent told it; null until it did. */
  containerId: string | null;
  log: Record<'stdout' | 'stderr', { offset: number; position: string | null }>;
}

interface NodeRunRow extends Pick<JobRow, 'container' | 'sealed' | 'account_id'> {
  id: string;
  node_id: string;
  run_id: string;
  attempt: number;
  status: JobRunStatus;
  desired: 'run' | 'stop';
  stop_grace_ms: number | null;
  stop_age_ms: number | null;
  cpu_count: number;
  ram_bytes: number;
  storage_bytes: number;
  gpu_uuids: string[];
  stdout_offset: number | null;
  stdout_position: string | null;
  stderr_offset: number | null;
  stderr_position: string | null;
  token_sealed: Buffer | null;
  container_id: string | null;
}

const selectNodeRuns = {
  name: 'select_node_runs',
  text: `
    select r.node_id, r.id as run_id, r.job_id as id, r.account_id, r.attempt, r.status, r.desired, r.stop_grace_ms,
      extract(epoch from flotilla_now() - r.teardown_requested_at)::double precision * 1000 as stop_age_ms,
      r.cpu_count, r.ram_bytes, r.storage_bytes, r.gpu_uuids, r.token_sealed, r.container_id, j.container, j.sealed,
      l.stdout_offset, l.stdout_position, l.stderr_offset, l.stderr_position
    from job_runs r join jobs j on j.id = r.job_id left join run_log_states l on l.run_id = r.id
    where r.node_id = any ($1::uuid[]) and r.released_at is null`,
};

/** Every run of these nodes whose resources are not released yet. */
export async function listNodeRuns(sql: Sql, vault: Vault, nodeIds: readonly string[]): Promise<NodeRun[]> {
  const rows = await sql.query<NodeRunRow>(selectNodeRuns, [nodeIds]);
  return rows.map((row) => toNodeRun(row, vault));
}

/** Returns when what is being written of the node's runs by somebody else is written. */
export async function awaitRunWrites(sql: Sql, nodeId: string): Promise<void> {
  const text =
    'select from job_runs where node_id = $1 and released_at is null order by job_id, id for share';
  await sql.query({ name: 'await_run_writes', text }, [nodeId]);
}

function toNodeRun(row: NodeRunRow, vault: Vault): NodeRun {
  return {
    nodeId: row.node_id,
    runId: row.run_id,
    jobId: row.id,
    attempt: row.attempt,
    status: row.status,
    desired: row.desired,
    stopGraceMs: row.stop_grace_ms,
    stopAgeMs: row.stop_age_ms === null ? null : Math.max(0, Math.round(row.stop_age_ms)),
    container: () => toContainerSpec(row, vault),
    accessToken: () => openToken(vault, row.run_id, row.token_sealed),
    cpuCount: row.cpu_count,
    ramBytes: row.ram_bytes,
    storageBytes: row.storage_bytes,
    gpuUuids: row.gpu_uuids,
    containerId: row.container_id,
    log: {
      stdout: { offset: row.stdout_offset ?? 0, position: row.stdout_position },
      stderr: { offset: row.stderr_offset ?? 0, position: row.stderr_position },
    },
  };
}

/** Older ones of a node that was away for long stay unverified. */
const maxUnproved = 1_000;

/** A run that is to be gone from its node. */
export interface KilledRun {
  id: string;
  attempt: number;
  containerId: string | null;
}

/**
 * For a node that says hello: those of its containers' runs that the database knows as over, and runs that were given up
 * with the node and whose end nobody has proved.
 */
export async function listKilledRuns(
  sql: Sql,
  options: { nodeId: string; runIds: readonly string[] },
): Promise<KilledRun[]> {
  return sql.query(
    {
      name: 'list_killed_runs',
      text: `select r.id, r.attempt, r.container_id as "containerId" from job_runs r
        where r.id = any ($1::uuid[]) and r.node_id = $2 and r.released_at is not null
        union
        (select r.id, r.attempt, r.container_id from job_runs r
          where r.node_id = $2 and r.receipt ? 'fenced' and not r.receipt ? 'proof' order by r.id desc limit $3)`,
    },
    [options.runIds, options.nodeId, maxUnproved],
  );
}

/** Which of these runs of the node the database knows as ended and released. */
export async function listReleasedRuns(
  sql: Sql,
  options: { nodeId: string; runIds: readonly string[] },
): Promise<{ id: string; attempt: number }[]> {
  return sql.query(
    'select id, attempt from job_runs where id = any ($1::uuid[]) and node_id = $2 and released_at is not null',
    [options.runIds, options.nodeId],
  );
}
