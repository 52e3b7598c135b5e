// What the database holds, kept beside it from the changes it tells of, so that checks need no query of their own.
import type { JobRunStatus, JobStatus } from '../../src/domain/job.ts';
import type { RealSession } from './postgres.ts';

export interface JobFacts {
  id: string;
  status: JobStatus;
  task: string;
  last_run_id: string | null;
  failed_run_count: number;
  lost_run_count: number;
  max_retry_count: number;
  cpu_count: number;
  gpu_count: number;
  min_ram_gb: number;
  timeout_assign_at: string | null;
}

export interface RunFacts {
  id: string;
  job_id: string;
  node_id: string;
  slot: number;
  attempt: number;
  status: JobRunStatus;
  desired: 'run' | 'stop';
  cpu_count: number;
  ram_bytes: number;
  storage_bytes: number;
  gpu_uuids: string[];
  released_at: string | null;
  status_detail: { code?: string } | null;
  teardown_state: string | null;
  receipt: { proof?: unknown; fenced?: unknown } | null;
}

export interface NodeFacts {
  id: string;
  status: string;
  is_cordoned: boolean;
  cpu_count: number;
  ram_bytes: number;
  storage_bytes: number;
  cpu_allocated: number;
  ram_allocated: number;
  storage_allocated: number;
  run_count: number;
  gpus: { uuid: string; health?: string }[];
}

interface GpuFacts {
  node_id: string;
  gpu_uuid: string;
  run_id: string;
}

export interface EventFacts {
  job_id: string;
  run_id: string | null;
  kind: string;
  from_status: string | null;
  to_status: string | null;
}

interface ChangeOf<Kind extends string, Facts> {
  kind: Kind;
  /** null: the row is new. */
  was: Facts | null;
  /** null: the row is gone. */
  now: Facts | null;
}

export type Change =
  | ChangeOf<'job', JobFacts>
  | ChangeOf<'run', RunFacts>
  | ChangeOf<'node', NodeFacts>
  | ChangeOf<'gpu', GpuFacts>
  | ChangeOf<'event', EventFacts>;

export class Model {
  readonly jobs = new Map<string, JobFacts>();
  readonly runs = new Map<string, RunFacts>();
  readonly nodes = new Map<string, NodeFacts>();
  /** `node gpu` to run. */
  readonly gpus = new Map<string, string>();
  readonly runsOfJob = new Map<string, Set<string>>();
  readonly heldByNode = new Map<string, Set<string>>();
  /** Runs whose node was fenced: what is left of them may live until the node is back. */
  readonly fenced = new Set<string>();

  apply(change: Change): void {
    if (change.kind === 'job') put(this.jobs, change.was?.id, change.now);
    else if (change.kind === 'node') put(this.nodes, change.was?.id, change.now);
    else if (change.kind === 'run' && change.now !== null) this.#putRun(change.now);
    else if (change.kind === 'gpu' && change.now !== null)
      this.gpus.set(keyOf(change.now), change.now.run_id);
    else if (change.kind === 'gpu' && change.was !== null) this.gpus.delete(keyOf(change.was));
    else if (change.kind === 'event' && change.now?.kind === 'node_lost' && change.now.run_id !== null)
      this.fenced.add(change.now.run_id);
  }

  runsOf(jobId: string): RunFacts[] {
    return [...(this.runsOfJob.get(jobId) ?? [])].flatMap((id) => this.runs.get(id) ?? []);
  }

  heldRuns(nodeId: string): RunFacts[] {
    return [...(this.heldByNode.get(nodeId) ?? [])].flatMap((id) => this.runs.get(id) ?? []);
  }

  #putRun(run: RunFacts): void {
    this.runs.set(run.id, run);
    added(this.runsOfJob, run.job_id, run.id);
    if (run.released_at === null) added(this.heldByNode, run.node_id, run.id);
    else this.heldByNode.get(run.node_id)?.delete(run.id);
  }
}

function put<T extends { id: string }>(rows: Map<string, T>, wasId: string | undefined, now: T | null): void {
  if (now !== null) rows.set(now.id, now);
  else if (wasId !== undefined) rows.delete(wasId);
}

function added(sets: Map<string, Set<string>>, key: string, value: string): void {
  const set = sets.get(key);
  if (set === undefined) sets.set(key, new Set([value]));
  else set.add(value);
}

function keyOf({ node_id, gpu_uuid }: GpuFacts): string {
  return `${node_id} ${gpu_uuid}`;
}

/** Reads committed changes once each; those of a transaction that commits late come late. */
export class ChangeFeed {
  readonly #session: RealSession;
  #floor = 0;
  #seen = new Set<number>();

  constructor(session: RealSession) {
    this.#session = session;
  }

  async read(openTransactionCount: number): Promise<Change[]> {
    const rows = await this.#session.query(
      {
        name: 'simulation_feed',
        text: 'select id, kind, was, now from simulation_changes where id > $1 order by id',
      },
      [this.#floor],
    );
    const fresh = rows.filter((row) => !this.#seen.has(Number(row.id)));
    for (const row of fresh) this.#seen.add(Number(row.id));
    if (openTransactionCount === 0) {
      this.#floor = Math.max(this.#floor, ...rows.map((row) => Number(row.id)));
      this.#seen = new Set();
    }
    return fresh as unknown as Change[];
  }
}
