// Which hardware a requirement shape can ever run on, and in what order of preference.

import { hasVram, matchesGpuName } from './gpu-match.ts';
import { fits, usableCards } from './placement-entry.ts';
import { compareJobs, type PendingJob } from './placement-model.ts';
import type { Need } from './placement-need.ts';
import { JobQueue } from './placement-queue.ts';
import type { ClassMatch, GpuKind, HardwareClass, NodeEntry, Shape } from './placement-state.ts';

export function createShape(key: string, need: Need): Shape {
  return {
    key,
    need,
    queue: new JobQueue(),
    matches: [],
    groups: [],
    views: [],
    isModelByKind: new Map(),
    candidates: null,
  };
}

/** Judges the classes that are new since the last look. */
export function matchClasses(shape: Shape, classes: readonly HardwareClass[]): void {
  for (let index = shape.matches.length; index < classes.length; index += 1) {
    const hardware = classes[index];
    const match = hardware === undefined ? null : matchClass(shape, hardware);
    shape.matches.push(match);
    if (match !== null) addToGroup(shape, match);
  }
}

/** True when the class is not barred by tenancy. */
export function isOpenTo(need: Need, hardware: HardwareClass): boolean {
  return hardware.ownerAccountId === null || hardware.ownerAccountId === need.accountId;
}

export function isInRegion(need: Need, hardware: HardwareClass): boolean {
  return need.regions.length === 0 || (hardware.region !== null && need.regions.includes(hardware.region));
}

/** True when the card is the model asked for, whatever its memory. */
export function isModel(shape: Shape, kind: GpuKind): boolean {
  const known = shape.isModelByKind.get(kind);
  if (known !== undefined) return known;
  const answer = isNamed(shape.need, kind);
  shape.isModelByKind.set(kind, answer);
  return answer;
}

function isNamed(need: Need, kind: GpuKind): boolean {
  if (need.gpuRegistryUuid !== null && kind.registryUuid !== need.gpuRegistryUuid) return false;
  return need.gpuName === null || matchesGpuName(need.gpuName, kind);
}

/** True when the shape's first job may go on the node now. */
export function canTake(shape: Shape, job: PendingJob, entry: NodeEntry): boolean {
  const match = shape.matches[entry.hardware.index];
  if (match === undefined || match === null || entry.isRemoved || !entry.node.isSchedulable) return false;
  if (!fits(shape.need, entry.free)) return false;
  if (shape.need.gpuCount > 0 && usableCards(match, entry.freeByKind) < shape.need.gpuCount) return false;
  return entry.reservation === null || mayShare(shape, job, entry);
}

/** True when the node would fit the shape with nothing else on it. */
export function couldTakeEmpty(shape: Shape, entry: NodeEntry): boolean {
  const match = shape.matches[entry.hardware.index];
  if (match === undefined || match === null || !fits(shape.need, entry.total)) return false;
  return usableCards(match, entry.totalByKind) >= shape.need.gpuCount;
}

/**
 * On a reserved node: its holder and jobs ahead of it go freely; a later job only where it leaves what the holder
 * needs. While the holder lacks cards, CPU, RAM or disk that it lacks too are not kept idle for it: the run that
 * frees the cards frees its share of them.
 */
function mayShare(shape: Shape, job: PendingJob, entry: NodeEntry): boolean {
  const { reservation, free } = entry;
  if (reservation === null || compareJobs(job, reservation.job) <= 0) return true;
  const { need: held } = reservation.shape;
  const heldMatch = reservation.shape.matches[entry.hardware.index];
  const match = shape.matches[entry.hardware.index];
  if (!heldMatch || !match) return false;
  const cardsLeft = usableCards(heldMatch, entry.freeByKind) - held.gpuCount;
  const isSameCards = match.kinds.some((kind) => heldMatch.kinds.includes(kind));
  if (shape.need.gpuCount > 0 && isSameCards && cardsLeft < shape.need.gpuCount) return false;
  const leaves = (freeAmount: number, taken: number, kept: number) =>
    freeAmount - taken >= kept || (cardsLeft < 0 && freeAmount < kept);
  return (
    leaves(free.cpuMilli, shape.need.cpuMilli, held.cpuMilli) &&
    leaves(free.ramBytes, shape.need.ramBytes, held.ramBytes) &&
    leaves(free.storageBytes, shape.need.storageBytes, held.storageBytes)
  );
}

function matchClass(shape: Shape, hardware: HardwareClass): ClassMatch | null {
  const { need } = shape;
  if (!isOpenTo(need, hardware) || !isInRegion(need, hardware)) return null;
  // Jobs without GPUs go to nodes without GPUs first.
  if (need.gpuCount === 0) return { hardware, kinds: [], rank: hardware.kinds.length === 0 ? 0 : 1 };
  const kinds: number[] = [];
  hardware.kinds.forEach((kind, index) => {
    if (isModel(shape, kind) && hasVram(kind, need.minVramGb)) kinds.push(index);
  });
  const least = hardware.kinds[kinds[0] ?? -1];
  return least === undefined ? null : { hardware, kinds, rank: least.vramMib };
}

function addToGroup(shape: Shape, match: ClassMatch): void {
  const group = shape.groups.find((other) => other.rank === match.rank);
  if (group !== undefined) {
    group.matches.push(match);
    return;
  }
  shape.groups.push({ rank: match.rank, matches: [match] });
  shape.groups.sort((a, b) => a.rank - b.rank);
}
