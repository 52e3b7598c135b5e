// Life events of runs, applied in batches: rows are locked, the domain decides, one statement writes.

import { extendStartDeadline, type StartDeadline } from '../domain/image-start-deadline.ts';
import { isProved } from '../domain/receipt.ts';
import {
  type JobState,
  type LifeEvent,
  type Outcome,
  type RunState,
  transition,
} from '../domain/transition.ts';
import type { Database, Sql } from './database.ts';
import { openPorts, type PortsWanted } from './gateway-ports.ts';
import { toStoredReceipt } from './receipts.ts';
import {
  type LockedNodes,
  type LockedRun,
  lockNodes,
  lockRuns,
  type NodeCondition,
  toJobState,
  toLockedRun,
} from './run-event-rows.ts';

/** An event for one run. `from` fences: reports of another node, attempt or life of the agent change nothing. */
export interface RunLifeEvent {
  runId: string;
  from: { nodeId: string; attempt: number; sessionId?: string | null } | null;
  /** Only if its node is lost still, or past the deadline of its drain: it may have come back since somebody looked. */
  onlyWhileNodeIs?: NodeCondition;
  /** `nowMs` is the database's time; agents report ages, and this turns them into times. */
  event: (nowMs: number) => LifeEvent;
  /** Container ports to open on the gateway if this event makes the run RUNNING. */
  publish?: readonly number[];
  /** Size of the run's image, for a job that did not say it. */
  imageSizeBytes?: number | null;
}

export type AppliedEvent =
  | {
      kind: 'applied';
      jobId: string;
      runId: string;
      nodeId: string;
      job: JobState;
      run: RunState;
      isReleased: boolean;
    }
  | { kind: 'ignored'; why: string }
  /** Another life of its agent has said hello since; what this one did may be undone or done again. */
  | { kind: 'outdated' }
  /** The run is unknown or belongs to another node. */
  | { kind: 'refused' };

/** Applies events in order; the answers stand in the same order. */
export async function applyRunEvents(
  database: Database,
  events: readonly RunLifeEvent[],
  actor: Record<string, unknown>,
): Promise<AppliedEvent[]> {
  if (events.length === 0) return [];
  return database.transaction(async (sql) => {
    const rows = await lockRuns(
      sql,
      events.map((event) => event.runId),
    );
    const locked = {
      runs: new Map(rows.map((row) => [row.run_id, toLockedRun(row)])),
      jobs: new Map(rows.map((row) => [row.job_id, toJobState(row)])),
    };
    const asked = new Set(events.filter((event) => event.onlyWhileNodeIs).map(({ runId }) => runId));
    const nodes = await lockNodes(
      sql,
      rows.filter((row) => asked.has(row.run_id)).map((row) => row.node_id),
    );
    const withoutPort = await openPorts(sql, portsWanted(events, locked));
    const decided = decide(events, { locked, nodes, withoutPort, nowMs: rows[0]?.now ?? 0 });
    if (decided.changedRuns.size > 0) await write(sql, decided, { locked, actor });
    return decided.answers;
  });
}

interface EventRecord {
  jobId: string;
  runId: string;
  kind: string;
  from: string;
  to: string;
  detail: Record<string, unknown> | null;
}

/** Two runs of one job may stand in a batch, so a job's state is kept once, beside the runs'. */
interface Locked {
  runs: Map<string, LockedRun>;
  jobs: Map<string, JobState>;
}

interface Decided {
  answers: AppliedEvent[];
  changedRuns: Set<string>;
  changedJobs: Set<string>;
  records: EventRecord[];
  /** By job: the size of the image that it runs. */
  imageSizes: Map<string, number>;
}

/** What the runs that may start with these events want of the gateway. */
function portsWanted(events: readonly RunLifeEvent[], { runs }: Locked): PortsWanted[] {
  const wanted = events.flatMap(({ runId, from, publish = [] }): PortsWanted[] => {
    const held = runs.get(runId);
    const mayStart = held?.run.status === 'ASSIGNED' || held?.run.status === 'PREPARING';
    const isReporter = held !== undefined && refusalOf(from, held) === null;
    return publish.length > 0 && mayStart && isReporter ? [{ runId, ports: publish }] : [];
  });
  // A report that came twice takes ports once.
  return [...new Map(wanted.map((one) => [one.runId, one])).values()];
}

interface Decision {
  locked: Locked;
  nodes: LockedNodes;
  /** Runs that the gateway has not enough public ports for. */
  withoutPort: ReadonlySet<string>;
  nowMs: number;
}

function decide(events: readonly RunLifeEvent[], decision: Decision): Decided {
  const decided: Decided = {
    answers: [],
    changedRuns: new Set(),
    changedJobs: new Set(),
    records: [],
    imageSizes: new Map(),
  };
  for (const item of events) decided.answers.push(decideOne(item, { ...decision, decided }));
  return decided;
}

function decideOne(
  item: RunLifeEvent,
  { locked, nodes, withoutPort, nowMs, decided }: Decision & { decided: Decided },
): AppliedEvent {
  const held = locked.runs.get(item.runId);
  const job = held && locked.jobs.get(held.jobId);
  if (held === undefined || job === undefined) return { kind: 'refused' };
  const refusal = refusalOf(item.from, held);
  if (refusal !== null) return refusal;
  const condition = item.onlyWhileNodeIs;
  if (condition !== undefined && nodes.get(held.run.nodeId)?.[condition] !== true)
    return { kind: 'ignored', why: `its node is not ${condition} any more` };
  const event = eventOf(item, withoutPort, nowMs);
  // Bytes that moved since the scheduler looked may have moved the deadline.
  const isEarly = held.waitsForPull && held.startDeadline.atMs > nowMs;
  if (event.kind === 'start_timeout' && isEarly) return { kind: 'ignored', why: 'not due' };
  const outcome = transition({ job, run: held.run }, event, nowMs);
  if (outcome.kind === 'ignored' || outcome.run === null) return { kind: 'ignored', why: whyOf(outcome) };
  const next = { ...held, run: outcome.run, startDeadline: startDeadlineAfter(held, outcome.run, nowMs) };
  locked.runs.set(item.runId, next);
  decided.changedRuns.add(item.runId);
  if (outcome.job !== job) {
    locked.jobs.set(held.jobId, outcome.job);
    decided.changedJobs.add(held.jobId);
  }
  if (isWorthRecording({ job, run: held.run }, outcome)) decided.records.push(recordOf(event, held, next));
  const hasStarted = held.run.status !== 'RUNNING' && outcome.run.status === 'RUNNING';
  if (hasStarted && item.imageSizeBytes) decided.imageSizes.set(held.jobId, item.imageSizeBytes);
  const isReleased = held.run.releasedAtMs === null && outcome.run.releasedAtMs !== null;
  const { jobId, runId } = held;
  return {
    kind: 'applied',
    jobId,
    runId,
    nodeId: held.run.nodeId,
    job: outcome.job,
    run: outcome.run,
    isReleased,
  };
}

/** null: whoever tells it may. */
function refusalOf(from: RunLifeEvent['from'], { run, sessionId }: LockedRun): AppliedEvent | null {
  if (from === null) return null;
  if (from.nodeId !== run.nodeId) return { kind: 'refused' };
  if (from.sessionId !== undefined && from.sessionId !== sessionId) return { kind: 'outdated' };
  return from.attempt === run.attempt ? null : { kind: 'ignored', why: 'another attempt' };
}

function eventOf({ runId, event }: RunLifeEvent, withoutPort: ReadonlySet<string>, nowMs: number): LifeEvent {
  const told = event(nowMs);
  if (told.kind !== 'running' || !withoutPort.has(runId)) return told;
  return { kind: 'no_public_port', startedAtMs: told.startedAtMs };
}

function startDeadlineAfter(held: LockedRun, next: RunState, nowMs: number): StartDeadline {
  if (!held.waitsForPull || next.status !== 'PREPARING') return held.startDeadline;
  const { progress: before } = held.run;
  const atMs = extendStartDeadline(held.startDeadline, { before, after: next.progress, nowMs });
  return { ...held.startDeadline, atMs };
}

function whyOf(outcome: Outcome): string {
  return outcome.kind === 'ignored' ? outcome.why : 'no run';
}

/** Pull progress comes every second and is no change of state. */
function isWorthRecording(
  before: { job: JobState; run: RunState },
  after: { job: JobState; run: RunState | null },
): boolean {
  return (
    before.job.status !== after.job.status ||
    before.run.status !== after.run?.status ||
    before.run.teardown?.state !== after.run?.teardown?.state ||
    before.run.releasedAtMs !== after.run?.releasedAtMs ||
    before.run.receipt !== after.run?.receipt
  );
}

function recordOf(event: LifeEvent, before: LockedRun, after: LockedRun): EventRecord {
  return {
    jobId: after.jobId,
    runId: after.runId,
    kind: event.kind,
    from: before.run.status,
    to: after.run.status,
    detail: detailOf(event, after.run),
  };
}

function detailOf(event: LifeEvent, run: RunState): Record<string, unknown> | null {
  if (event.kind === 'teardown_step') return { step: event.step, after_ms: event.afterMs, text: event.text };
  if (event.kind === 'released') return { is_verified: isProved(event.proof) };
  return run.statusDetail;
}

const time = (column: string) => `to_timestamp(i.${column} / 1000)`;

/** Terminal statuses are guarded here too: a row that ended is never rewritten with another word. */
const writeStates = {
  name: 'write_states',
  text: `
    with input as materialized (
      select * from json_to_recordset($1::json) as i(
        id uuid, node_id uuid, is_release boolean, cpu double precision, ram bigint, storage bigint,
        status text, desired text, run_deadline_at double precision, started_at double precision,
        ended_at double precision, released_at double precision, exit_code integer, exit_signal text,
        is_oom_killed boolean, status_reason text, status_detail jsonb, teardown_state text,
        teardown_requested_at double precision, teardown_deadline_at double precision, stop_grace_ms integer,
        progress jsonb, image_digest text, is_ended boolean, start_deadline_at double precision, container_id text,
        is_log_complete boolean, receipt jsonb)
    ), runs_written as (
      update job_runs r set status = i.status, desired = i.desired, run_deadline_at = ${time('run_deadline_at')},
        started_at = ${time('started_at')}, ended_at = ${time('ended_at')}, released_at = ${time('released_at')},
        exit_code = i.exit_code, exit_signal = i.exit_signal, is_oom_killed = i.is_oom_killed,
        status_reason = i.status_reason, status_detail = i.status_detail, teardown_state = i.teardown_state,
        teardown_requested_at = ${time('teardown_requested_at')},
        teardown_deadline_at = ${time('teardown_deadline_at')}, stop_grace_ms = i.stop_grace_ms,
        progress = i.progress, image_digest = i.image_digest, container_id = i.container_id,
        is_log_complete = i.is_log_complete, receipt = i.receipt, updated_at = flotilla_now(),
        start_deadline_at = ${time('start_deadline_at')},
        token_sealed = case when i.is_ended then null else r.token_sealed end,
        ports = case when i.is_ended then '[]' else r.ports end
      from input i where r.id = i.id
        and (r.status not in ('COMPLETED', 'FAILED', 'CANCELLED') or r.status = i.status)
    ), jobs_written as (
      update jobs j set status = i.status, failed_run_count = i.failed_run_count,
        lost_run_count = i.lost_run_count, timeout_assign_at = ${time('timeout_assign_at')},
        started_at = ${time('started_at')}, completed_at = ${time('completed_at')},
        status_reason = i.status_reason, status_detail = i.status_detail, avoid_node_ids = i.avoid_node_ids,
        image_size_bytes = coalesce(j.image_size_bytes, i.image_size_bytes),
        updated_at = flotilla_now(), changed_in = pg_current_xact_id()
      from json_to_recordset($2::json) as i(
        id uuid, status text, failed_run_count integer, lost_run_count integer, timeout_assign_at double precision,
        started_at double precision, completed_at double precision, status_reason text, status_detail jsonb,
        avoid_node_ids uuid[], image_size_bytes bigint)
      where j.id = i.id and j.status not in ('COMPLETED', 'FAILED', 'CANCELLED')
    ), gpus_freed as (
      delete from gpu_allocations g using input i where g.run_id = i.id and i.is_release
    ), port_rows as (
      select g.port from gateway_ports g where g.run_id in (select id from input where is_ended) order by g.port for update
    ), ports_closed as (
      update gateway_ports g set is_open = false, run_id = case when i.is_release then null else g.run_id end,
        released_at = case when i.is_release then flotilla_now() else g.released_at end
      from input i where g.run_id = i.id and i.is_ended and (g.is_open or i.is_release)
        and g.port in (select port from port_rows)
    ), node_rows as (
      select n.id from nodes n where n.id in (select node_id from input where is_release) order by n.id for update
    ), nodes_written as (
      update nodes n set cpu_allocated = greatest(0, n.cpu_allocated - f.cpu),
        ram_allocated = greatest(0, n.ram_allocated - f.ram),
        storage_allocated = greatest(0, n.storage_allocated - f.storage),
        run_count = greatest(0, n.run_count - f.runs), changed_in = pg_current_xact_id()
      from (select node_id, sum(cpu) as cpu, sum(ram)::bigint as ram, sum(storage)::bigint as storage,
          count(*)::integer as runs from input where is_release group by node_id) f
      where n.id = f.node_id and n.id in (select id from node_rows)
    )
    insert into job_events (created_at, account_id, job_id, run_id, kind, from_status, to_status, actor, detail)
    select flotilla_now(), j.account_id, e.job_id, e.run_id, e.kind, e.from_status, e.to_status, $4::jsonb, e.detail
    from json_to_recordset($3::json) as e(
      job_id uuid, run_id uuid, kind text, from_status text, to_status text, detail jsonb) join jobs j on j.id = e.job_id`,
};

async function write(
  sql: Sql,
  decided: Decided,
  { locked, actor }: { locked: Locked; actor: Record<string, unknown> },
): Promise<void> {
  const events = decided.records.map(({ jobId, runId, kind, from, to, detail }) => ({
    job_id: jobId,
    run_id: runId,
    kind,
    from_status: from,
    to_status: to,
    detail,
  }));
  const runs = [...decided.changedRuns].flatMap((runId) => writtenRun(locked.runs.get(runId)));
  const jobs = [...decided.changedJobs].flatMap((jobId) =>
    writtenJob(jobId, locked.jobs.get(jobId), decided),
  );
  await sql.query(writeStates, [
    JSON.stringify(runs),
    JSON.stringify(jobs),
    JSON.stringify(events),
    JSON.stringify(actor),
  ]);
}

function writtenJob(jobId: string, job: JobState | undefined, { imageSizes }: Decided) {
  if (job === undefined) return [];
  return [
    {
      id: jobId,
      status: job.status,
      failed_run_count: job.failedRunCount,
      lost_run_count: job.lostRunCount,
      timeout_assign_at: job.timeoutAssignAtMs,
      started_at: job.startedAtMs,
      completed_at: job.completedAtMs,
      status_reason: job.statusReason,
      status_detail: job.statusDetail,
      avoid_node_ids: job.avoidNodeIds,
      image_size_bytes: imageSizes.get(jobId) ?? null,
    },
  ];
}

function writtenRun(held: LockedRun | undefined) {
  if (held === undefined) return [];
  const { run } = held;
  return [
    {
      id: held.runId,
      node_id: run.nodeId,
      is_release: !held.wasReleased && run.releasedAtMs !== null,
      cpu: held.cpuCount,
      ram: held.ramBytes,
      storage: held.storageBytes,
      status: run.status,
      desired: run.desired,
      run_deadline_at: run.runDeadlineAtMs,
      started_at: run.startedAtMs,
      ended_at: run.endedAtMs,
      released_at: run.releasedAtMs,
      exit_code: run.exitCode,
      exit_signal: run.exitSignal,
      is_oom_killed: run.isOomKilled,
      status_reason: run.statusReason,
      status_detail: run.statusDetail,
      teardown_state: run.teardown?.state ?? null,
      teardown_requested_at: run.teardown?.requestedAtMs ?? null,
      teardown_deadline_at: run.teardown?.deadlineAtMs ?? null,
      stop_grace_ms: run.stopGraceMs,
      progress: run.progress,
      image_digest: run.imageDigest,
      container_id: run.containerId,
      is_log_complete: run.receipt.proof?.isLogComplete ?? null,
      receipt: toStoredReceipt(run.receipt),
      start_deadline_at: held.startDeadline.atMs,
      is_ended: run.status !== 'ASSIGNED' && run.status !== 'PREPARING' && run.status !== 'RUNNING',
    },
  ];
}
