// The scheduler's view: what changed since it last looked, and the batch it writes back.
import type { Requirements } from '../domain/job.ts';
import type { PendingReason as DecidedReason } from '../domain/pending-reason.ts';
import type { GpuInventory } from '../protocol/agent-messages.ts';
import type { PendingReason } from '../protocol/job.ts';
import type { Sql } from './database.ts';
import { groupReads } from './grouped-reads.ts';
import { type RequirementColumns, toRequirements } from './job-rows.ts';
import type { Leadership } from './leadership.ts';

/** A point in the order of transactions; what a later read from it returns may repeat, but never misses a change. */
export interface FeedMark {
  transaction: string;
  /** The database's time. */
  nowMs: number;
}

/** The mark from which everything is read. */
export const feedStart = '0';

export interface PendingJobRow {
  id: string;
  accountId: string;
  isPending: boolean;
  priority: number;
  createdAtMs: number;
  timeoutAssignAtMs: number;
  requirements: Requirements;
  avoidNodeIds: string[];
}

export interface SchedulableNodeRow {
  id: string;
  accountId: string;
  version: number;
  isSchedulable: boolean;
  isRemoved: boolean;
  regionCode: string | null;
  isolation: 'enforced' | 'none';
  cpuCount: number;
  cpuFree: number;
  ramBytes: number;
  ramFree: number;
  storageBytes: number;
  storageFree: number;
  gpus: (GpuInventory & { isAllocated: boolean })[];
}

/** Read before the feeds, so that what commits between is read again rather than missed. */
export async function markFeed(sql: Sql): Promise<FeedMark> {
  const [row] = await sql.query<{ transaction: string; now: number }>({
    name: 'mark_feed',
    text: 'select pg_snapshot_xmin(pg_current_snapshot())::text as transaction, flotilla_now() as now',
  });
  if (row === undefined) throw new Error('The database gave no mark.');
  return { transaction: row.transaction, nowMs: row.now };
}

const selectChangedJobs = {
  name: 'select_changed_jobs',
  text: `select id, account_id, status, priority, created_at, timeout_assign_at, cpu_count, gpu_count, gpu_name,
      gpu_registry_uuid, min_ram_gb, min_storage_gb, min_vram_gb, allowed_region_codes, avoid_node_ids,
      flotilla_named_ports(container) as public_port_count
    from jobs where status in ('PENDING', 'CANCELLED') and changed_in >= $1::text::xid8
      and (status = 'PENDING' or $1 <> '0')`,
};

/** Jobs that became PENDING or were cancelled since the mark. */
export async function listChangedJobs(sql: Sql, since: string): Promise<PendingJobRow[]> {
  const rows = await sql.query<
    RequirementColumns & {
      id: string;
      account_id: string;
      status: string;
      priority: number;
      created_at: number;
      timeout_assign_at: number | null;
      avoid_node_ids: string[];
      public_port_count: number;
    }
  >(selectChangedJobs, [since]);
  return rows.map((row) => ({
    id: row.id,
    accountId: row.account_id,
    isPending: row.status === 'PENDING',
    priority: row.priority,
    createdAtMs: row.created_at,
    timeoutAssignAtMs: row.timeout_assign_at ?? Number.POSITIVE_INFINITY,
    avoidNodeIds: row.avoid_node_ids,
    requirements: { ...toRequirements(row), publicPortCount: row.public_port_count },
  }));
}

const selectChangedNodes = {
  name: 'select_changed_nodes',
  text: `select n.id, n.account_id, n.version, n.status = 'ready' and not n.is_cordoned and not n.awaits_word
        and n.inventory ->> 'engine_note' is null as is_schedulable,
      n.status = 'removed' as is_removed, n.region_code,
      n.isolation, n.cpu_count, n.ram_bytes, n.storage_bytes, n.cpu_allocated, n.ram_allocated, n.storage_allocated,
      n.gpus, array(select g.gpu_uuid from gpu_allocations g where g.node_id = n.id) as allocated
    from nodes n where n.changed_in >= $1::text::xid8`,
};

export async function listChangedNodes(sql: Sql, since: string): Promise<SchedulableNodeRow[]> {
  const rows = await sql.query<{
    id: string;
    account_id: string;
    version: number;
    is_schedulable: boolean;
    is_removed: boolean;
    region_code: string | null;
    isolation: 'enforced' | 'none';
    cpu_count: number;
    ram_bytes: number;
    storage_bytes: number;
    cpu_allocated: number;
    ram_allocated: number;
    storage_allocated: number;
    gpus: GpuInventory[];
    allocated: string[];
  }>(selectChangedNodes, [since]);
  return rows.map((row) => {
    const allocated = new Set(row.allocated);
    return {
      id: row.id,
      accountId: row.account_id,
      version: row.version,
      isSchedulable: row.is_schedulable,
      isRemoved: row.is_removed,
      regionCode: row.region_code,
      isolation: row.isolation,
      cpuCount: row.cpu_count,
      cpuFree: row.cpu_count - row.cpu_allocated,
      ramBytes: row.ram_bytes,
      ramFree: row.ram_bytes - row.ram_allocated,
      storageBytes: row.storage_bytes,
      storageFree: row.storage_bytes - row.storage_allocated,
      gpus: row.gpus.map((gpu) => ({
        ...gpu,
        // One that is not clean after its last run takes no other.
        isAllocated: allocated.has(gpu.uuid) || gpu.health === 'quarantined',
      })),
    };
  });
}

export interface PlannedRun {
  jobId: string;
  runId: string;
  nodeId: string;
  nodeVersion: number;
  cpuCount: number;
  ramBytes: number;
  storageBytes: number;
  gpuUuids: readonly string[];
  /** Its price, in micro-dollars; absent: nothing. */
  hourlyRateMicros?: number;
  /** The run's access token, sealed; absent: none. */
  sealedToken?: Buffer;
}

/** Writes the plan under the nodes' locks; answers the ids of the jobs that were placed, the others were overtaken. */
export async function writePlan(
  sql: Sql,
  leadership: Leadership,
  plan: readonly PlannedRun[],
): Promise<Set<string>> {
  const rows = plan.map((run, ordinal) => ({
    ordinal,
    job_id: run.jobId,
    run_id: run.runId,
    node_id: run.nodeId,
    node_version: run.nodeVersion,
    cpu: run.cpuCount,
    ram: run.ramBytes,
    storage: run.storageBytes,
    gpus: run.gpuUuids,
    rate: run.hourlyRateMicros ?? 0,
    token: run.sealedToken === undefined ? null : `\\x${run.sealedToken.toString('hex')}`,
  }));
  const placed = await sql.query<{ placed_job: string }>(
    { name: 'write_plan', text: 'select placed_job from flotilla_write_plan($1, $2, $3, $4, $5)' },
    [
      leadership.name,
      leadership.holder,
      leadership.epoch,
      JSON.stringify(rows),
      JSON.stringify({ kind: 'scheduler', replica: leadership.holder }),
    ],
  );
  return new Set(placed.map((row) => row.placed_job));
}

/** PENDING jobs among these whose assign deadline passed become FAILED; answers their ids. */
export async function failUnassignedJobs(
  sql: Sql,
  jobIds: readonly string[],
  holder: string,
): Promise<string[]> {
  const rows = await sql.query<{ id: string }>(
    {
      name: 'fail_unassigned_jobs',
      text: `with due as (
          select id from jobs where id = any ($1::uuid[]) and status = 'PENDING' and timeout_assign_at <= flotilla_now()
          order by id for update
        ), failed as (
          update jobs set status = 'FAILED', completed_at = flotilla_now(), updated_at = flotilla_now(),
            timeout_assign_at = null, status_reason = 'No node could take the job within max_timeout_assign_ms.',
            status_detail = '{"code": "assign_timeout"}', changed_in = pg_current_xact_id()
          where id in (select id from due)
          returning id
        ), events as (
          insert into job_events (created_at, job_id, kind, from_status, to_status, actor, detail)
          select flotilla_now(), id, 'assign_timeout', 'PENDING', 'FAILED', $2, '{"code": "assign_timeout"}' from failed
        )
        select id from failed`,
    },
    [jobIds, JSON.stringify({ kind: 'scheduler', replica: holder })],
  );
  return rows.map((row) => row.id);
}

export interface DueRun {
  id: string;
  kind: 'start_timeout' | 'run_timeout';
}

/** Runs whose start or run deadline passed, oldest first. */
export async function listDueRuns(sql: Sql, limit: number): Promise<DueRun[]> {
  return sql.query<DueRun>(
    {
      name: 'list_due_runs',
      text: `(select id, 'start_timeout' as kind from job_runs
          where status in ('ASSIGNED', 'PREPARING') and start_deadline_at <= flotilla_now()
          order by start_deadline_at limit $1)
        union all
        (select id, 'run_timeout' as kind from job_runs
          where status = 'RUNNING' and run_deadline_at is not null and run_deadline_at <= flotilla_now()
          order by run_deadline_at limit $1)`,
    },
    [limit],
  );
}

/** Runs that still hold resources of these nodes. */
export async function listHeldRuns(
  sql: Sql,
  nodeIds: readonly string[],
): Promise<{ id: string; nodeId: string }[]> {
  return sql.query(
    'select id, node_id as "nodeId" from job_runs where node_id = any ($1::uuid[]) and released_at is null',
    [nodeIds],
  );
}

/** Replaces why each shape waits; shapes with no job waiting are dropped. Nothing changes when another leads by now. */
export async function writePendingReasons(
  sql: Sql,
  leadership: Leadership,
  reasons: ReadonlyMap<string, DecidedReason>,
): Promise<void> {
  const rows = [...reasons].map(([shape, reason]) => ({ shape, reason: toWire(reason) }));
  await sql.query(
    {
      name: 'write_pending_reasons',
      text: `with leads as materialized (
          select flotilla_leads($2, $3, $4) as is_so
        ), input as materialized (
          select * from json_to_recordset($1::json) as i(shape text, reason jsonb)
        ), dropped as (
          delete from pending_reasons where shape not in (select shape from input) and (select is_so from leads)
        )
        insert into pending_reasons (shape, reason, updated_at)
          select shape, reason, flotilla_now() from input where (select is_so from leads)
        on conflict (shape) do update set reason = excluded.reason, updated_at = excluded.updated_at`,
    },
    [JSON.stringify(rows), leadership.name, leadership.holder, leadership.epoch],
  );
}

function toWire({ code, message, excluded, nodesConsidered, wouldFit }: DecidedReason): PendingReason {
  return { code, message, excluded, nodes_considered: nodesConsidered, would_fit: wouldFit };
}

/** Why jobs of these shapes wait; looks that arrive together share one statement. */
export function createReasonReader(
  sql: Sql,
): (shapes: readonly string[]) => Promise<Map<string, PendingReason>> {
  return groupReads(
    async (groups: (readonly string[])[]) => {
      const reasons = await listPendingReasons(sql, [...new Set(groups.flat())]);
      return groups.map(() => reasons);
    },
    { maxSize: 100, maxUnderWay: 2 },
  );
}

async function listPendingReasons(sql: Sql, shapes: readonly string[]): Promise<Map<string, PendingReason>> {
  const rows = await sql.query<{ shape: string; reason: PendingReason }>(
    {
      name: 'list_pending_reasons',
      text: 'select shape, reason from pending_reasons where shape = any ($1)',
    },
    [shapes],
  );
  return new Map(rows.map((row) => [row.shape, row.reason]));
}

/** The account's newest job that is PENDING and was submitted within `withinMs`. */
export async function findNewestPending(
  sql: Sql,
  { accountId, withinMs }: { accountId: string; withinMs: number },
): Promise<{ createdAtMs: number; ageMs: number } | null> {
  const [row] = await sql.query<{ created_at: number; now: number }>(
    {
      name: 'find_newest_pending',
      text: `select created_at, flotilla_now() as now from jobs
        where account_id = $1 and status in ('PENDING', 'ASSIGNED', 'RUNNING') and status = 'PENDING'
          and created_at > flotilla_now() - $2 * interval '1 millisecond'
        order by created_at desc limit 1`,
    },
    [accountId, withinMs],
  );
  return row === undefined ? null : { createdAtMs: row.created_at, ageMs: row.now - row.created_at };
}

/** Which of these jobs are PENDING still. */
export async function listStillPending(sql: Sql, jobIds: readonly string[]): Promise<string[]> {
  const rows = await sql.query<{ id: string }>(
    {
      name: 'list_still_pending',
      text: "select id from jobs where id = any ($1::uuid[]) and status = 'PENDING'",
    },
    [jobIds],
  );
  return rows.map((row) => row.id);
}
