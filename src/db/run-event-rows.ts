// Rows that a batch of life events locks: how they are read, and how runs and jobs are written back.

import type { StartDeadline } from '../domain/image-start-deadline.ts';
import type { JobRunStatus, JobStatus, JobTask, NodeLossPolicy, TeardownState } from '../domain/job.ts';
import type { JobState, RunState } from '../domain/transition.ts';
import type { Sql } from './database.ts';
import { toTeardown } from './job-rows.ts';
import { type StoredReceipt, toReceipt } from './receipts.ts';

export interface LockedRun {
  jobId: string;
  startDeadline: StartDeadline;
  /** The job lets its start timeout wait while bytes move. */
  waitsForPull: boolean;
  runId: string;
  run: RunState;
  wasReleased: boolean;
  cpuCount: number;
  ramBytes: number;
  storageBytes: number;
  /** The life of its node's agent that said hello last; null: none ever did. */
  sessionId: string | null;
}

export interface LockedRow {
  now: number;
  job_id: string;
  run_id: string;
  job_status: JobStatus;
  task: JobTask;
  max_retry_count: number;
  on_node_lost: NodeLossPolicy | null;
  max_timeout_assign_ms: number;
  max_timeout_run_ms: number | null;
  max_timeout_start_ms: number;
  start_timeout_waits_for_pull: boolean;
  failed_run_count: number;
  lost_run_count: number;
  timeout_assign_at: number | null;
  job_started_at: number | null;
  completed_at: number | null;
  job_status_reason: string | null;
  job_status_detail: Record<string, unknown> | null;
  avoid_node_ids: string[];
  node_id: string;
  attempt: number;
  status: JobRunStatus;
  desired: 'run' | 'stop';
  start_deadline_at: number;
  run_created_at: number;
  run_deadline_at: number | null;
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
  stop_grace_ms: number | null;
  progress: unknown;
  image_digest: string | null;
  container_id: string | null;
  receipt: StoredReceipt | null;
  cpu_count: number;
  ram_bytes: number;
  storage_bytes: number;
  session_id: string | null;
}

const lockRunsStatement = {
  name: 'lock_runs',
  text: `
    select flotilla_now() as now, j.id as job_id, r.id as run_id, j.status as job_status, j.task, j.max_retry_count, j.on_node_lost,
      j.max_timeout_assign_ms, j.max_timeout_run_ms,
      j.max_timeout_start_ms, j.start_timeout_waits_for_pull, r.start_deadline_at, r.created_at as run_created_at, j.failed_run_count, j.lost_run_count, j.timeout_assign_at,
      j.started_at as job_started_at, j.completed_at, j.status_reason as job_status_reason,
      j.status_detail as job_status_detail, j.avoid_node_ids,
      r.node_id, r.attempt, r.status, r.desired, r.run_deadline_at, r.started_at, r.ended_at, r.released_at,
      r.exit_code, r.exit_signal, r.is_oom_killed, r.status_reason, r.status_detail, r.teardown_state,
      r.teardown_requested_at, r.teardown_deadline_at, r.stop_grace_ms, r.progress, r.image_digest, r.container_id, r.receipt,
      r.cpu_count, r.ram_bytes, r.storage_bytes, n.session_id
    from job_runs r join jobs j on j.id = r.job_id join nodes n on n.id = r.node_id
    where r.id = any ($1::uuid[]) order by j.id, r.id for update of j, r`,
};

export function lockRuns(sql: Sql, runIds: readonly string[]): Promise<LockedRow[]> {
  return sql.query<LockedRow>(lockRunsStatement, [runIds]);
}

export type NodeCondition = 'lost' | 'drained';
export type LockedNodes = ReadonlyMap<string, Record<NodeCondition, boolean>>;

/** What is true of these nodes; it does not change before the transaction ends. */
export async function lockNodes(sql: Sql, nodeIds: readonly string[]): Promise<LockedNodes> {
  if (nodeIds.length === 0) return new Map();
  const nodes = await sql.query<{ id: string; lost: boolean; drained: boolean }>(
    {
      name: 'lock_nodes',
      text: `select id, status = 'lost' as lost, coalesce(drain_deadline_at <= flotilla_now(), false) as drained
        from nodes where id = any ($1::uuid[]) order by id for update`,
    },
    [nodeIds],
  );
  return new Map(nodes.map((node) => [node.id, node]));
}

export function toLockedRun(row: LockedRow): LockedRun {
  return {
    jobId: row.job_id,
    runId: row.run_id,
    startDeadline: {
      atMs: row.start_deadline_at,
      assignedAtMs: row.run_created_at,
      timeoutMs: row.max_timeout_start_ms,
    },
    waitsForPull: row.start_timeout_waits_for_pull,
    wasReleased: row.released_at !== null,
    cpuCount: row.cpu_count,
    ramBytes: row.ram_bytes,
    storageBytes: row.storage_bytes,
    sessionId: row.session_id,
    run: toRunState(row),
  };
}

export function toJobState(row: LockedRow): JobState {
  return {
    status: row.job_status,
    task: row.task,
    maxRetryCount: row.max_retry_count,
    onNodeLost: row.on_node_lost,
    maxTimeoutAssignMs: row.max_timeout_assign_ms,
    maxTimeoutRunMs: row.max_timeout_run_ms,
    failedRunCount: row.failed_run_count,
    lostRunCount: row.lost_run_count,
    timeoutAssignAtMs: row.timeout_assign_at,
    startedAtMs: row.job_started_at,
    completedAtMs: row.completed_at,
    statusReason: row.job_status_reason,
    statusDetail: row.job_status_detail,
    avoidNodeIds: row.avoid_node_ids,
  };
}

function toRunState(row: LockedRow): RunState {
  return {
    nodeId: row.node_id,
    attempt: row.attempt,
    status: row.status,
    desired: row.desired,
    assignedAtMs: row.run_created_at,
    runDeadlineAtMs: row.run_deadline_at,
    startedAtMs: row.started_at,
    endedAtMs: row.ended_at,
    releasedAtMs: row.released_at,
    exitCode: row.exit_code,
    exitSignal: row.exit_signal,
    isOomKilled: row.is_oom_killed,
    statusReason: row.status_reason,
    statusDetail: row.status_detail,
    teardown: toTeardown(row),
    stopGraceMs: row.stop_grace_ms,
    progress: row.progress,
    imageDigest: row.image_digest,
    containerId: row.container_id,
    receipt: toReceipt(row.receipt),
  };
}
