// After a run's container is gone: what it left is removed, and then the machine is looked at anew for the proof.
import type { GpuRemains } from '../domain/receipt.ts';
import type { RunProof } from '../protocol/run-proof.ts';
import type { Clock } from './clock.ts';
import type { NodeIdentity } from './container-order.ts';
import type { GpuGuard } from './gpu-guard.ts';
import { observeListed, type RunRecord, tookStep } from './run-record.ts';
import { type Runtime, RuntimeError } from './runtime.ts';

export interface CleanUpDeps {
  runtime: Runtime;
  clock: Clock;
  gpuGuard: GpuGuard;
  identity: () => NodeIdentity;
  /** Reads the node anew and tells the server what changed. */
  refreshInventory: () => Promise<void>;
}

type Remains = RunProof['container'];

const gone: Remains = { state: 'gone', why: null };
const none: Remains = { state: 'none', why: null };

/** Throws while something of the run is left, or nobody answers; then it is done again. */
export async function cleanUp(deps: CleanUpDeps, record: RunRecord): Promise<void> {
  const { runtime, clock, gpuGuard } = deps;
  record.cleaning = { count: record.cleaning.count + 1, lastAtMs: clock.nowMs() };
  record.endingSinceMs ??= clock.nowMs();
  // Where the order names none they are only looked for; the next try removes what was found all the same.
  if (mayHaveVolumes(record) || record.cleaning.count > 1) await runtime.removeVolumes(record.runUuid);
  const remains = await lookForRemains(deps, record);
  if (remains === null) return;
  const seen = await gpuGuard.finish(record.runUuid);
  // The server hears of a dirty GPU before it hears that the run's resources are free.
  if (seen.some(({ state }) => state !== 'clean')) await deps.refreshInventory();
  const gpus = [...seen, ...unguarded(record, seen)];
  if (gpus.length > 0) tookStep(record, 'gpus_clean', clock.nowMs());
  record.proof = { is_whole: record.isWitness, ...remains, gpus: gpus.map(toWire) };
  record.trouble = null;
  record.cleanUp = 'done';
}

/** null: its container is there again. */
async function lookForRemains(
  { runtime, clock, identity }: CleanUpDeps,
  record: RunRecord,
): Promise<Omit<RunProof, 'is_whole' | 'gpus'> | null> {
  const { runUuid, containerId } = record;
  const { nodeUuid, clusterUuid } = identity();
  const [containers, volumes, processes] = await Promise.all([
    runtime.listContainers(nodeUuid),
    runtime.listVolumes(nodeUuid),
    containerId === null ? none : lookForProcesses(runtime, containerId),
  ]);
  const isOwn = (one: { runUuid: string; clusterUuid: string | null }) =>
    one.runUuid === runUuid && (one.clusterUuid ?? clusterUuid) === clusterUuid;
  const listed = containers.find(isOwn);
  if (listed !== undefined) {
    observeListed(record, listed);
    return null;
  }
  if (volumes.some(isOwn))
    throw new RuntimeError('volume_left', 'A volume of the run is still there after its removal.');
  // Only now: a container that lives needs its place.
  const networks = containerId === null ? none : await leaveNetwork(runtime, containerId);
  const nowMs = clock.nowMs();
  for (const step of ['processes_gone', 'networks_gone', 'volumes_gone']) tookStep(record, step, nowMs);
  return {
    container: containerId === null ? none : gone,
    processes,
    networks,
    volumes: mayHaveVolumes(record) ? gone : none,
  };
}

function mayHaveVolumes({ desired }: RunRecord): boolean {
  return desired === null || desired.container.volumes.length > 0;
}

async function lookForProcesses(runtime: Runtime, containerId: string): Promise<Remains> {
  const leftCount = await runtime.killProcesses(containerId);
  if (leftCount === 0) return gone;
  if (leftCount !== null) throw processesLeft(leftCount);
  return {
    state: 'not_seen',
    why: 'The engine runs its containers where this agent cannot see their processes.',
  };
}

async function leaveNetwork(runtime: Runtime, containerId: string): Promise<Remains> {
  if (runtime.leaveNetwork === undefined) return none;
  if (await runtime.leaveNetwork(containerId)) return gone;
  throw new RuntimeError('network_left', 'The container still has its place on the network.');
}

export function processesLeft(count: number): RuntimeError {
  const words = count === 1 ? 'A process of its container lives' : `${count} processes of its container live`;
  return new RuntimeError('processes_left', `${words} on after KILL.`);
}

/** GPUs that the run was to have, and of which the guard knows nothing. */
function unguarded(record: RunRecord, seen: readonly GpuRemains[]): GpuRemains[] {
  const known = new Set(seen.map(({ uuid }) => uuid));
  const unknown = (record.desired?.gpu_uuids ?? []).filter((uuid) => !known.has(uuid));
  const nothing = { baselineMib: null, usedMib: null };
  return unknown.map((uuid) =>
    record.hasStart || record.containerId !== null
      ? { uuid, state: 'not_seen', why: 'The agent does not know how it was before the run.', ...nothing }
      : { uuid, state: 'clean', why: 'The run never had it.', ...nothing },
  );
}

function toWire({ baselineMib, usedMib, why, ...gpu }: GpuRemains): RunProof['gpus'][number] {
  return { ...gpu, why: why?.slice(0, 1024) ?? null, baseline_mib: baselineMib, used_mib: usedMib };
}
