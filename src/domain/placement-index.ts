// Finds the node with the least left over for a need, without a look at the nodes that cannot help.
//
// Nodes lie in cells: class of hardware, free cards, levels of free CPU and RAM. The number of cells a search passes
// depends on how many kinds of hardware there are, not on how many nodes.
import { fits, kindOf, usableCards } from './placement-entry.ts';
import { compareIds, type PlacementNode } from './placement-model.ts';
import type { Need } from './placement-need.ts';
import type {
  Bucket,
  Cell,
  ClassMatch,
  GpuKind,
  HardwareClass,
  NodeEntry,
  Shape,
} from './placement-state.ts';

export class NodeIndex {
  readonly classes: HardwareClass[] = [];
  readonly #classByKey = new Map<string, HardwareClass>();
  /** Equal kinds are one object in all classes, so that a shape compares names once per kind. */
  readonly #kindByKey = new Map<string, GpuKind>();

  /** The class of a node; made when it is the first of its kind. */
  classOf(node: PlacementNode, ownerAccountId: string | null): HardwareClass {
    const kinds = kindsOf(node).map((kind) => this.#intern(kind));
    const region = node.regionCode?.toLowerCase() ?? null;
    const key = JSON.stringify([region, ownerAccountId, kinds.map((kind) => kind.key)]);
    const known = this.#classByKey.get(key);
    if (known !== undefined) return known;
    const index = this.classes.length;
    const made = { index, region, ownerAccountId, kinds, members: new Set<NodeEntry>(), buckets: [] };
    this.classes.push(made);
    this.#classByKey.set(key, made);
    return made;
  }

  /** Puts the entry where its free amounts belong. */
  place(entry: NodeEntry): void {
    const key = cellKey(entry);
    const { cell } = entry;
    if (cell !== null && cell.key === key && hasSameCards(cell.bucket, entry)) {
      raiseBounds(cell, entry);
      return;
    }
    this.remove(entry);
    const target = cellFor(bucketFor(entry), key);
    target.entries.splice(entryPosition(target.entries, entry.node.id), 0, entry);
    raiseBounds(target, entry);
    entry.cell = target;
  }

  remove(entry: NodeEntry): void {
    const { cell } = entry;
    if (cell === null) return;
    entry.cell = null;
    cell.entries.splice(entryPosition(cell.entries, entry.node.id), 1);
    if (cell.entries.length > 0) return;
    const { bucket } = cell;
    bucket.cells.splice(bucket.cells.indexOf(cell), 1);
    if (bucket.cells.length > 0) return;
    const { buckets } = entry.hardware;
    buckets.splice(buckets.indexOf(bucket), 1);
  }

  /** The best node that fits, those in `avoid` last; null when none fits. */
  search(shape: Shape, avoid: readonly string[]): NodeEntry | null {
    let avoided: NodeEntry | null = null;
    for (const group of shape.groups) {
      let found: ClassFound = { best: null, avoided: null };
      for (const match of group.matches) found = searchClass(shape.need, match, avoid, found);
      if (found.best !== null) return found.best;
      avoided ??= found.avoided;
    }
    return avoided;
  }

  #intern(kind: GpuKind): GpuKind {
    const known = this.#kindByKey.get(kind.key);
    if (known === undefined) this.#kindByKey.set(kind.key, kind);
    return known ?? kind;
  }
}

/** Orders nodes that fit and are of equal rank: fewest free cards, then least CPU and RAM, then id. */
export function isTighter(a: NodeEntry, b: NodeEntry): boolean {
  const byCards = totalFree(a) - totalFree(b);
  if (byCards !== 0) return byCards < 0;
  const byAmounts = tightness(a) - tightness(b) || cellKey(a) - cellKey(b);
  return byAmounts !== 0 ? byAmounts < 0 : a.node.id < b.node.id;
}

interface ClassFound {
  best: NodeEntry | null;
  avoided: NodeEntry | null;
}

/** Betters what was found in other classes of the same rank. */
function searchClass(need: Need, match: ClassMatch, avoid: readonly string[], found: ClassFound): ClassFound {
  let { best, avoided } = found;
  for (const bucket of match.hardware.buckets) {
    if (best !== null && bucket.totalFree > (best.cell?.bucket.totalFree ?? 0)) break;
    if (need.gpuCount > 0 && usableCards(match, bucket.freeByKind) < need.gpuCount) continue;
    for (const cell of bucket.cells) {
      const entry = firstFit(need, cell, avoid);
      if (entry === null) continue;
      if (avoid.includes(entry.node.id)) {
        if (avoided === null || isTighter(entry, avoided)) avoided = entry;
        continue;
      }
      if (best === null || isTighter(entry, best)) best = entry;
      break;
    }
  }
  return { best, avoided };
}

/** The first node of the cell that fits; an avoided one only when no other of the cell does. */
function firstFit(need: Need, cell: Cell, avoid: readonly string[]): NodeEntry | null {
  if (cell.maxCpuMilli < need.cpuMilli || cell.maxRamBytes < need.ramBytes) return null;
  if (cell.maxStorageBytes < need.storageBytes) return null;
  let avoided: NodeEntry | null = null;
  for (const entry of cell.entries) {
    if (!fits(need, entry.free)) continue;
    if (avoid.length === 0 || !avoid.includes(entry.node.id)) return entry;
    avoided ??= entry;
  }
  if (avoided === null) tightenBounds(cell);
  return avoided;
}

function kindsOf(node: PlacementNode): GpuKind[] {
  const kinds = new Map(node.gpus.map((gpu) => [kindOf(gpu).key, kindOf(gpu)]));
  return [...kinds.values()].sort((a, b) => a.vramMib - b.vramMib || compareIds(a.key, b.key));
}

function totalFree(entry: NodeEntry): number {
  let total = 0;
  for (const count of entry.freeByKind) total += count;
  return total;
}

function bucketFor(entry: NodeEntry): Bucket {
  const { buckets } = entry.hardware;
  const key = entry.freeByKind.join();
  const known = buckets.find((bucket) => bucket.key === key);
  if (known !== undefined) return known;
  const total = totalFree(entry);
  const made: Bucket = { key, freeByKind: [...entry.freeByKind], totalFree: total, cells: [] };
  const after = buckets.findIndex(
    (bucket) => bucket.totalFree > total || (bucket.totalFree === total && bucket.key > key),
  );
  buckets.splice(after === -1 ? buckets.length : after, 0, made);
  return made;
}

function cellFor(bucket: Bucket, key: number): Cell {
  const known = bucket.cells.find((cell) => cell.key === key);
  if (known !== undefined) return known;
  const tight = tightnessOfKey(key);
  const made: Cell = {
    ...{ bucket, key, tightness: tight, entries: [] },
    ...{ maxCpuMilli: 0, maxRamBytes: 0, maxStorageBytes: 0 },
  };
  const after = bucket.cells.findIndex(
    (cell) => cell.tightness > tight || (cell.tightness === tight && cell.key > key),
  );
  bucket.cells.splice(after === -1 ? bucket.cells.length : after, 0, made);
  return made;
}

function hasSameCards(bucket: Bucket, entry: NodeEntry): boolean {
  return bucket.freeByKind.every((count, kind) => count === entry.freeByKind[kind]);
}

const levelsPerCell = 256;

function cellKey(entry: NodeEntry): number {
  return cpuLevel(entry) * levelsPerCell + ramLevel(entry);
}

function tightness(entry: NodeEntry): number {
  return cpuLevel(entry) + ramLevel(entry);
}

function tightnessOfKey(key: number): number {
  return Math.floor(key / levelsPerCell) + (key % levelsPerCell);
}

function cpuLevel(entry: NodeEntry): number {
  return level(entry.free.cpuMilli / 64);
}

function ramLevel(entry: NodeEntry): number {
  return level(entry.free.ramBytes / 67_108_864);
}

/** Two levels an octave: narrow enough to pack well, few enough that a search stays short in any fleet. */
function level(amount: number): number {
  const whole = Math.min(Math.trunc(amount), 0x3fffffff);
  if (whole < 1) return 0;
  const octave = 31 - Math.clz32(whole);
  const isUpperHalf = octave > 0 && ((whole >>> (octave - 1)) & 1) === 1;
  return 1 + 2 * octave + (isUpperHalf ? 1 : 0);
}

function raiseBounds(cell: Cell, { free }: NodeEntry): void {
  if (free.cpuMilli > cell.maxCpuMilli) cell.maxCpuMilli = free.cpuMilli;
  if (free.ramBytes > cell.maxRamBytes) cell.maxRamBytes = free.ramBytes;
  if (free.storageBytes > cell.maxStorageBytes) cell.maxStorageBytes = free.storageBytes;
}

/** Bounds only rise while nodes come and go; a search in vain has seen all entries, so it may set them right. */
function tightenBounds(cell: Cell): void {
  cell.maxCpuMilli = 0;
  cell.maxRamBytes = 0;
  cell.maxStorageBytes = 0;
  for (const entry of cell.entries) raiseBounds(cell, entry);
}

function entryPosition(entries: readonly NodeEntry[], id: string): number {
  let low = 0;
  let high = entries.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const other = entries[middle];
    if (other !== undefined && other.node.id < id) low = middle + 1;
    else high = middle;
  }
  return low;
}
