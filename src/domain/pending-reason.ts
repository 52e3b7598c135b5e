// Says why the jobs of a shape wait: a code, a sentence, the nodes excluded per reason, and what would help.
import { nearestChange, viewOf } from './placement-change.ts';
import { fits, usableCards } from './placement-entry.ts';
import { messageFor, type PendingCode } from './placement-message.ts';
import { canTake, matchClasses } from './placement-shape.ts';
import type { Exclusion, HardwareClass, NodeEntry, Shape } from './placement-state.ts';
import type { WorkingSet } from './placement-working-set.ts';

export interface PendingReason {
  code: PendingCode;
  message: string;
  /** Nodes by the first thing that excludes each; what is left of `nodesConsidered` fits now. */
  excluded: Record<string, number>;
  nodesConsidered: number;
  /** The smallest single change that would make it fit now, as a clause; null when none would. */
  wouldFit: string | null;
}

/** Reasons of all shapes that have waiting jobs, by shape key. */
export function pendingReasons(workingSet: WorkingSet): Map<string, PendingReason> {
  const reasons = new Map<string, PendingReason>();
  const tallies = tally(workingSet.index.classes);
  for (const shape of workingSet.shapes.values()) {
    if (shape.queue.length > 0) reasons.set(shape.key, reasonFor(workingSet, shape, tallies));
  }
  return reasons;
}

/** How many nodes of a class take work and how many do not. */
interface Tally {
  hardware: HardwareClass;
  available: number;
  unavailable: number;
}

function tally(classes: readonly HardwareClass[]): Tally[] {
  return classes.map((hardware) => {
    let available = 0;
    for (const entry of hardware.members) if (entry.node.isSchedulable) available += 1;
    return { hardware, available, unavailable: hardware.members.size - available };
  });
}

type Excluded = Partial<Record<Exclusion, number>>;

interface Counts {
  excluded: Excluded;
  /** Nodes that take no work now and would fit when empty. */
  fitsUnavailable: number;
}

function reasonFor(workingSet: WorkingSet, shape: Shape, tallies: readonly Tally[]): PendingReason {
  const { classes } = workingSet.index;
  matchClasses(shape, classes);
  const counts: Counts = { excluded: {}, fitsUnavailable: 0 };
  for (const ofClass of tallies) countClass(shape, ofClass, counts);
  const nodesConsidered = workingSet.nodes.size;
  const fitsWhere = codeFor(shape, classes, { ...counts, nodesConsidered });
  const code = fitsWhere === 'queued' && !workingSet.hasPorts(shape) ? 'no_public_port' : fitsWhere;
  const wouldFit = fitsWhere === 'queued' ? null : nearestChange(shape, classes);
  const message = messageFor({ code, need: shape.need, ...counts, wouldFit });
  return { code, message, excluded: counts.excluded, nodesConsidered, wouldFit };
}

function countClass(shape: Shape, { hardware, available, unavailable }: Tally, counts: Counts): void {
  const { barrier } = viewOf(shape, hardware);
  if (barrier === null) {
    for (const entry of hardware.members) countEntry(shape, entry, counts);
  } else {
    count(counts.excluded, 'unavailable', unavailable);
    count(counts.excluded, barrier, available);
  }
}

function countEntry(shape: Shape, entry: NodeEntry, counts: Counts): void {
  const why = entry.node.isSchedulable ? nodeBarrier(shape, entry) : 'unavailable';
  if (why === null) return;
  count(counts.excluded, why, 1);
  if (why === 'unavailable' && emptyBarrier(shape, entry) === null) counts.fitsUnavailable += 1;
}

function count(excluded: Excluded, why: Exclusion, nodes: number): void {
  if (nodes > 0) excluded[why] = (excluded[why] ?? 0) + nodes;
}

function nodeBarrier(shape: Shape, entry: NodeEntry): Exclusion | null {
  const whenEmpty = emptyBarrier(shape, entry);
  if (whenEmpty !== null) return whenEmpty;
  const { need } = shape;
  const match = shape.matches[entry.hardware.index];
  if (match && usableCards(match, entry.freeByKind) < need.gpuCount) return 'gpu_busy';
  if (entry.free.cpuMilli < need.cpuMilli) return 'cpu_busy';
  if (entry.free.ramBytes < need.ramBytes) return 'ram_busy';
  if (!fits(need, entry.free)) return 'storage_busy';
  const job = shape.queue.head();
  return job !== undefined && canTake(shape, job, entry) ? null : 'reserved';
}

function emptyBarrier(shape: Shape, { hardware, total, totalByKind }: NodeEntry): Exclusion | null {
  const { need } = shape;
  const match = shape.matches[hardware.index];
  if (match && usableCards(match, totalByKind) < need.gpuCount) return 'gpu_count';
  if (total.cpuMilli < need.cpuMilli) return 'cpu';
  if (total.ramBytes < need.ramBytes) return 'ram';
  return total.storageBytes < need.storageBytes ? 'storage' : null;
}

interface Findings extends Counts {
  nodesConsidered: number;
}

function codeFor(shape: Shape, classes: readonly HardwareClass[], findings: Findings): PendingCode {
  const { excluded, fitsUnavailable, nodesConsidered } = findings;
  if (nodesConsidered === 0) return 'no_nodes';
  const { unavailable = 0, isolation = 0, region = 0 } = excluded;
  const all = Object.values(excluded).reduce((total, count) => total + count, 0);
  if (all < nodesConsidered) return 'queued';
  const { gpu_busy, cpu_busy, ram_busy, storage_busy, reserved } = excluded;
  if (gpu_busy || cpu_busy || ram_busy || storage_busy || reserved) return 'busy';
  if (unavailable === nodesConsidered || fitsUnavailable > 0) return 'nodes_unavailable';
  if (!isKnownModel(shape, classes)) {
    return shape.need.gpuName === null ? 'gpu_registry_unknown' : 'gpu_model_unknown';
  }
  const rest = all - unavailable - isolation;
  if (rest === 0) return 'isolation';
  return rest === region ? 'region' : 'no_fitting_node';
}

/** True when some node, whatever its region, account and state, has a card of the model asked for. */
function isKnownModel(shape: Shape, classes: readonly HardwareClass[]): boolean {
  if (shape.need.gpuName === null && shape.need.gpuRegistryUuid === null) return true;
  return classes.some((hardware) => hardware.members.size > 0 && viewOf(shape, hardware).models.length > 0);
}
