// What a receipt is made of: a job, one of its runs, and what the database itself sees of the run's ports and token.
import type { JobRunStatus, JobStatus, TeardownState } from '../domain/job.ts';
import type { Receipt } from '../domain/receipt.ts';
import type { TeardownRecord } from '../domain/transition.ts';
import type { Sql } from './database.ts';
import { toTeardown } from './job-rows.ts';
import { type StoredReceipt, toReceipt } from './receipts.ts';

export interface ReceiptRecord {
  job: ReceiptJob;
  /** null: the job never had one. */
  run: ReceiptRun | null;
}

export interface ReceiptJob {
  id: string;
  status: JobStatus;
  statusDetail: Record<string, unknown> | null;
  completedAtMs: number | null;
}

export interface ReceiptRun {
  id: string;
  nodeId: string;
  attempt: number;
  status: JobRunStatus;
  statusDetail: Record<string, unknown> | null;
  containerId: string | null;
  teardown: TeardownRecord | null;
  stopGraceMs: number | null;
  startedAtMs: number | null;
  endedAtMs: number | null;
  releasedAtMs: number | null;
  exitCode: number | null;
  exitSignal: string | null;
  isOomKilled: boolean;
  receipt: Receipt;
  /** Read at this moment: a public port still leads to it, and its token is still worth something. */
  hasOpenPort: boolean;
  hasToken: boolean;
}

interface ReceiptRow {
  job_id: string;
  job_status: JobStatus;
  job_detail: Record<string, unknown> | null;
  completed_at: number | null;
  run_id: string | null;
  node_id: string;
  attempt: number;
  status: JobRunStatus;
  status_detail: Record<string, unknown> | null;
  container_id: string | null;
  teardown_state: TeardownState | null;
  teardown_requested_at: number | null;
  teardown_deadline_at: number | null;
  stop_grace_ms: number | null;
  started_at: number | null;
  ended_at: number | null;
  released_at: number | null;
  exit_code: number | null;
  exit_signal: string | null;
  is_oom_killed: boolean;
  receipt: StoredReceipt | null;
  has_open_port: boolean;
  has_token: boolean;
}

const columns = `j.id as job_id, j.status as job_status, j.status_detail as job_detail, j.completed_at, r.id as run_id,
  r.node_id, r.attempt, r.status, r.status_detail, r.container_id, r.teardown_state, r.teardown_requested_at,
  r.teardown_deadline_at, r.stop_grace_ms, r.started_at, r.ended_at, r.released_at, r.exit_code, r.exit_signal,
  r.is_oom_killed, r.receipt, r.token_sealed is not null as has_token,
  exists (select from gateway_ports g where g.run_id = r.id and g.is_open) as has_open_port`;

/** Of the job's last run, or of `runId`; null when the account has no such job, or the job no such run. */
export async function getJobReceipt(
  sql: Sql,
  job: { id: string; accountId: string; runId: string | null },
): Promise<ReceiptRecord | null> {
  const [row] = await sql.query<ReceiptRow>(
    {
      name: 'select_job_receipt',
      text: `select ${columns} from jobs j
        left join job_runs r on r.id = coalesce($3::uuid, j.last_run_id) and r.job_id = j.id
        where j.id = $1 and j.account_id = $2 and ($3::uuid is null or r.id is not null)`,
    },
    [job.id, job.accountId, job.runId],
  );
  return row === undefined ? null : toReceiptRecord(row);
}

export async function getRunReceipt(
  sql: Sql,
  run: { id: string; accountId: string },
): Promise<ReceiptRecord | null> {
  const [row] = await sql.query<ReceiptRow>(
    {
      name: 'select_run_receipt',
      text: `select ${columns} from job_runs r join jobs j on j.id = r.job_id where r.id = $1 and r.account_id = $2`,
    },
    [run.id, run.accountId],
  );
  return row === undefined ? null : toReceiptRecord(row);
}

function toReceiptRecord(row: ReceiptRow): ReceiptRecord {
  return {
    job: {
      id: row.job_id,
      status: row.job_status,
      statusDetail: row.job_detail,
      completedAtMs: row.completed_at,
    },
    run: row.run_id === null ? null : toReceiptRun(row, row.run_id),
  };
}

function toReceiptRun(row: ReceiptRow, id: string): ReceiptRun {
  return {
    id,
    nodeId: row.node_id,
    attempt: row.attempt,
    status: row.status,
    statusDetail: row.status_detail,
    containerId: row.container_id,
    teardown: toTeardown(row),
    stopGraceMs: row.stop_grace_ms,
    startedAtMs: row.started_at,
    endedAtMs: row.ended_at,
    releasedAtMs: row.released_at,
    exitCode: row.exit_code,
    exitSignal: row.exit_signal,
    isOomKilled: row.is_oom_killed,
    receipt: toReceipt(row.receipt),
    hasOpenPort: row.has_open_port,
    hasToken: row.has_token,
  };
}
