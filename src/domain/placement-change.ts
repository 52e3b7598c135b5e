// Finds the smallest single change of its requirements that would make a waiting job fit a node now.
import { hasVram } from './gpu-match.ts';
import { fits, usableCards } from './placement-entry.ts';
import { defaultCpuCount, defaultRamBytes, defaultStorageBytes, type Need } from './placement-need.ts';
import { isInRegion, isModel, isOpenTo } from './placement-shape.ts';
import type { Bucket, ClassView, GpuKind, HardwareClass, Shape } from './placement-state.ts';

type Amount = 'vram' | 'gpu_count' | 'cpu' | 'ram' | 'storage';
interface Found {
  value: number;
  nodeCount: number;
}
/** What single changes would do: the best value of each amount, the nodes per region and per other model. */
interface Changes {
  amounts: Map<Amount, Found>;
  regions: Map<string, number>;
  models: Map<string, number>;
}

const units: Record<Amount, string> = {
  vram: 'GB of VRAM',
  gpu_count: 'GPUs',
  cpu: 'CPUs',
  ram: 'GB of RAM',
  storage: 'GB of storage',
};
// An amount counts as the part of it given up. Another region or model gives up nothing that can be measured: they
// rank with an amount cut by half, and by three quarters.
const regionCost = 0.5;
const modelCost = 0.75;

/** A clause such as `3 nodes would fit at 40 GB of VRAM`; null when no single change is enough. */
export function nearestChange(shape: Shape, classes: readonly HardwareClass[]): string | null {
  const changes: Changes = { amounts: new Map(), regions: new Map(), models: new Map() };
  for (const hardware of classes) {
    const view = viewOf(shape, hardware);
    if (view.barrier === 'isolation') continue;
    // Buckets hold just the nodes that take work and are not held for another job.
    for (const bucket of hardware.buckets) note(changes, shape.need, view, bucket);
  }
  const offers = [...amountOffers(changes, shape.need)];
  const region = mostNodes(changes.regions);
  if (region)
    offers.push({ cost: regionCost, clause: `${would(region.nodeCount)} in region ${region.name}` });
  const model = mostNodes(changes.models);
  if (model) offers.push({ cost: modelCost, clause: `${would(model.nodeCount)} with ${model.name}` });
  offers.sort((a, b) => a.cost - b.cost);
  return offers[0]?.clause ?? null;
}

/** What a class is to a shape, empty or not; worked out once, since names are slow to compare. */
export function viewOf(shape: Shape, hardware: HardwareClass): ClassView {
  const known = shape.views[hardware.index];
  if (known !== undefined) return known;
  const { need } = shape;
  const where = (is: (kind: GpuKind) => boolean) =>
    [...hardware.kinds.keys()].filter((at) => isAt(hardware, at, is));
  const models = where((kind) => isModel(shape, kind));
  const large = where((kind) => hasVram(kind, need.minVramGb));
  const kinds = models.filter((kind) => large.includes(kind));
  const view = { barrier: barrierOf(need, hardware, models, kinds), hardware, models, large, kinds };
  shape.views[hardware.index] = view;
  return view;
}

function barrierOf(
  need: Need,
  hardware: HardwareClass,
  models: readonly number[],
  kinds: readonly number[],
): ClassView['barrier'] {
  if (!isOpenTo(need, hardware)) return 'isolation';
  if (!isInRegion(need, hardware)) return 'region';
  if (need.gpuCount === 0 || kinds.length > 0) return null;
  if (hardware.kinds.length === 0) return 'no_gpu';
  if (models.length > 0) return 'vram';
  return need.gpuName === null ? 'gpu_registry' : 'gpu_model';
}

/** Notes, for nodes with equal free cards, the one change that would make each fit; nothing where it takes two. */
function note(changes: Changes, need: Need, view: ClassView, bucket: Bucket): void {
  const hasCards = usableCards(view, bucket.freeByKind) >= need.gpuCount;
  const { region } = view.hardware;
  if (view.barrier === null && hasCards) noteAmounts(changes, need, bucket);
  else if (view.barrier !== 'region') noteCards(changes, need, view, bucket);
  else if (hasCards && region !== null) add(changes.regions, region, countFits(need, bucket));
}

/** Nodes whose cards are enough: what a job would have to ask for less of. */
function noteAmounts(changes: Changes, need: Need, { cells }: Bucket): void {
  for (const cell of cells) {
    for (const { free } of cell.entries) {
      const hasCpu = free.cpuMilli >= need.cpuMilli;
      const hasRam = free.ramBytes >= need.ramBytes;
      const hasStorage = free.storageBytes >= need.storageBytes;
      if (!hasCpu && hasRam && hasStorage) noteAmount(changes, 'cpu', downToTenth(free.cpuMilli / 1000), 1);
      if (hasCpu && !hasRam && hasStorage) noteAmount(changes, 'ram', downToTenth(free.ramBytes / 1e9), 1);
      if (hasCpu && hasRam && !hasStorage)
        noteAmount(changes, 'storage', downToTenth(free.storageBytes / 1e9), 1);
    }
  }
}

/** Nodes with too few free cards that fit: fewer cards, smaller ones, or another model. */
function noteCards(changes: Changes, need: Need, view: ClassView, bucket: Bucket): void {
  const usable = usableCards(view, bucket.freeByKind);
  const vramGb = largestVram(need.gpuCount, view, bucket);
  const other = view.large.findLast((kind) => (bucket.freeByKind[kind] ?? 0) >= need.gpuCount);
  const name = view.hardware.kinds[other ?? -1]?.name;
  if (usable === 0 && vramGb === null && name === undefined) return;
  const count = countFits(need, bucket);
  if (count === 0) return;
  if (usable > 0) noteAmount(changes, 'gpu_count', usable, count);
  if (vramGb !== null) noteAmount(changes, 'vram', vramGb, count);
  if (name !== undefined) add(changes.models, name, count);
}

function countFits(need: Need, { cells }: Bucket): number {
  let count = 0;
  for (const cell of cells) for (const entry of cell.entries) if (fits(need, entry.free)) count += 1;
  return count;
}

/** The most VRAM to ask for so that enough free cards of the model have it. */
function largestVram(count: number, view: ClassView, { freeByKind }: Bucket): number | null {
  let found = 0;
  for (const kind of view.models.toReversed()) {
    found += freeByKind[kind] ?? 0;
    const card = view.hardware.kinds[kind];
    if (found >= count && card) return card.registryVramGb ?? Math.ceil(card.vramMib / 1024);
  }
  return null;
}

function* amountOffers({ amounts }: Changes, need: Need): Generator<{ cost: number; clause: string }> {
  const asked: Record<Amount, number> = {
    vram: need.minVramGb,
    gpu_count: need.gpuCount,
    cpu: need.cpuMilli / 1000,
    ram: need.ramBytes / 1e9,
    storage: need.storageBytes / 1e9,
  };
  const least: Record<Amount, number> = {
    vram: 0,
    gpu_count: 1,
    cpu: defaultCpuCount,
    ram: defaultRamBytes / 1e9,
    storage: defaultStorageBytes / 1e9,
  };
  for (const [name, { value, nodeCount }] of amounts) {
    if (value < least[name] || value >= asked[name]) continue;
    const unit = name === 'gpu_count' && value === 1 ? 'GPU' : units[name];
    yield { cost: 1 - value / asked[name], clause: `${would(nodeCount)} at ${value} ${unit}` };
  }
}

function noteAmount({ amounts }: Changes, name: Amount, value: number, nodeCount: number): void {
  const best = amounts.get(name);
  if (best === undefined || value > best.value) amounts.set(name, { value, nodeCount });
  else if (value === best.value) best.nodeCount += nodeCount;
}

function mostNodes(counts: ReadonlyMap<string, number>): { name: string; nodeCount: number } | null {
  let most: { name: string; nodeCount: number } | null = null;
  for (const [name, nodeCount] of counts) {
    const isMore =
      most === null || nodeCount > most.nodeCount || (nodeCount === most.nodeCount && name < most.name);
    if (isMore) most = { name, nodeCount };
  }
  return most;
}

function add(counts: Map<string, number>, name: string, count: number): void {
  if (count > 0) counts.set(name, (counts.get(name) ?? 0) + count);
}

function isAt(hardware: HardwareClass, at: number, is: (kind: GpuKind) => boolean): boolean {
  const kind = hardware.kinds[at];
  return kind !== undefined && is(kind);
}

function would(nodeCount: number): string {
  return nodeCount === 1 ? '1 node would fit' : `${nodeCount} nodes would fit`;
}

function downToTenth(value: number): number {
  return Math.floor(value * 10) / 10;
}
