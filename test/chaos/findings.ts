// What an audit finds wrong, and what it knows when it judges: rows, containers, faults.
import type { Fault, FaultKind } from './faults.ts';
import type { AcknowledgedJob } from './load.ts';
import type { ChaosNode } from './node.ts';
import type { ContainerLife } from './watcher.ts';

export const findingKinds = [
  'lost',
  'leaked',
  'changed',
  'twice',
  'untrue',
  'log',
  'stop',
  'answer',
  'stuck',
  'ended',
] as const;

export interface Finding {
  kind: (typeof findingKinds)[number];
  text: string;
  jobUuid?: string;
  runUuid?: string;
  node?: string;
  containerId?: string;
}

/** Times are epoch milliseconds. */
export interface RunRow {
  id: string;
  job_id: string;
  node_id: string;
  attempt: number;
  status: string;
  desired: 'run' | 'stop';
  exit_code: number | null;
  started_at: number | null;
  ended_at: number | null;
  released_at: number | null;
  teardown_state: string | null;
  /** Given up with its node: what it did there after that is not its end. */
  is_fenced: boolean;
  /** As its receipt says; null where it does not know. */
  is_log_complete: boolean | null;
  code: string | null;
  reason: string | null;
}

export interface JobRow {
  id: string;
  status: string;
  completed_at: number | null;
}

/** Everything that a judgement rests on. */
export interface Evidence {
  jobs: Map<string, JobRow>;
  runs: RunRow[];
  acknowledged: Map<string, AcknowledgedJob>;
  lives: readonly ContainerLife[];
  faults: readonly Fault[];
  nodes: readonly ChaosNode[];
}

export function nodeOf({ nodes }: Evidence, run: RunRow): ChaosNode | undefined {
  return nodes.find(({ uuid }) => uuid === run.node_id);
}

/** Faults of these kinds on the node at some time between the two; an engine needs a while to come back. */
export function faultsOn(
  { faults }: Evidence,
  node: ChaosNode,
  { kinds, fromMs, toMs }: { kinds: readonly FaultKind[]; fromMs: number; toMs: number },
): Fault[] {
  const afterMs = 15_000;
  return faults.filter(
    (fault) =>
      kinds.includes(fault.kind) &&
      fault.target.endsWith(`-${node.number}`) &&
      fault.fromMs <= toMs &&
      (fault.toMs ?? Number.POSITIVE_INFINITY) + afterMs >= fromMs,
  );
}

/** A fault that ends containers or takes from their logs: the engine was killed. */
export const engineDeaths: readonly FaultKind[] = ['dockerd_kill', 'dockerd_kill_live_restore'];
/** Faults that make a node silent: an agent also says nothing while its engine hangs. */
export const silences: readonly FaultKind[] = [
  ...engineDeaths,
  'link_cut',
  'link_half_cut',
  'agent_pause',
  'agent_kill',
  'docker_hang',
];
