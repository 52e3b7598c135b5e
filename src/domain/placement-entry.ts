// One node's books: what is free on it, what placements hold, which cards a job gets.
import { compareIds, type PlacementGpu, type PlacementNode } from './placement-model.ts';
import { type Need, toMilli } from './placement-need.ts';
import type {
  Amounts,
  Card,
  ClassMatch,
  GpuKind,
  HardwareClass,
  Hold,
  NodeEntry,
} from './placement-state.ts';

export function createEntry(node: PlacementNode, hardware: HardwareClass): NodeEntry {
  const entry: NodeEntry = {
    node,
    hardware,
    total: { cpuMilli: 0, ramBytes: 0, storageBytes: 0 },
    free: { cpuMilli: 0, ramBytes: 0, storageBytes: 0 },
    cards: [],
    totalByKind: [],
    freeByKind: [],
    holds: new Set(),
    cell: null,
    reservation: null,
    isRemoved: false,
  };
  describe(entry, node, hardware);
  return entry;
}

/** Takes over the database's figures; holds they include are dropped. */
export function describe(entry: NodeEntry, node: PlacementNode, hardware: HardwareClass): void {
  entry.node = node;
  entry.hardware = hardware;
  entry.total.cpuMilli = toMilli(node.cpuCount);
  entry.total.ramBytes = node.ramBytes;
  entry.total.storageBytes = node.storageBytes;
  entry.cards = cardsOf(node, hardware.kinds);
  entry.totalByKind = hardware.kinds.map(
    (_, kind) => entry.cards.filter((card) => card.kind === kind).length,
  );
  for (const hold of entry.holds) if (hold.isConfirmed) entry.holds.delete(hold);
  recount(entry);
}

/** Free = the node's own figures less all holds. Counted afresh, so that taking and giving back never drifts. */
export function recount(entry: NodeEntry): void {
  const { node, free } = entry;
  free.cpuMilli = toMilli(node.cpuFree);
  free.ramBytes = node.ramFree;
  free.storageBytes = node.storageFree;
  const taken = new Set<string>();
  for (const gpu of node.gpus) if (gpu.isAllocated) taken.add(gpu.uuid);
  for (const hold of entry.holds) {
    subtract(free, hold);
    for (const uuid of hold.gpuUuids) taken.add(uuid);
  }
  entry.freeByKind = entry.totalByKind.map(() => 0);
  for (const card of entry.cards) {
    card.isFree = !taken.has(card.uuid);
    if (card.isFree) entry.freeByKind[card.kind] = (entry.freeByKind[card.kind] ?? 0) + 1;
  }
}

/** Adds the hold to the books. */
export function take(entry: NodeEntry, hold: Hold): void {
  entry.holds.add(hold);
  subtract(entry.free, hold);
  for (const card of entry.cards) {
    if (!hold.gpuUuids.includes(card.uuid)) continue;
    card.isFree = false;
    entry.freeByKind[card.kind] = (entry.freeByKind[card.kind] ?? 0) - 1;
  }
}

/** True when the need fits what is free, or with `total` what the node has when empty. */
export function fits(need: Need, amounts: Amounts): boolean {
  return (
    amounts.cpuMilli >= need.cpuMilli &&
    amounts.ramBytes >= need.ramBytes &&
    amounts.storageBytes >= need.storageBytes
  );
}

/** How many of these cards a job of the match may use. */
export function usableCards(
  match: { readonly kinds: readonly number[] },
  countByKind: readonly number[],
): number {
  let usable = 0;
  for (const kind of match.kinds) usable += countByKind[kind] ?? 0;
  return usable;
}

/**
 * The cards of a placement: all of one kind where that can be, least VRAM first, so that large cards stay free;
 * within a kind in uuid order.
 */
export function pickCards(entry: NodeEntry, match: ClassMatch, count: number): string[] {
  if (count === 0) return [];
  const whole = match.kinds.find((kind) => (entry.freeByKind[kind] ?? 0) >= count);
  const kinds = whole === undefined ? match.kinds : [whole];
  const uuids: string[] = [];
  for (const kind of kinds) {
    for (const card of entry.cards) {
      if (uuids.length === count) return uuids;
      if (card.isFree && card.kind === kind) uuids.push(card.uuid);
    }
  }
  return uuids;
}

export function kindOf(gpu: PlacementGpu): GpuKind {
  const registryUuid = gpu.registryUuid?.toLowerCase() ?? null;
  const registryVramGb = gpu.registryVramGb ?? null;
  const key = `${gpu.name}|${gpu.vramMib}|${registryUuid}|${registryVramGb}`;
  return { key, name: gpu.name, vramMib: gpu.vramMib, registryUuid, registryVramGb };
}

function cardsOf(node: PlacementNode, kinds: readonly GpuKind[]): Card[] {
  const indexByKey = new Map(kinds.map((kind, index) => [kind.key, index]));
  return node.gpus
    .map((gpu) => ({ uuid: gpu.uuid, kind: indexByKey.get(kindOf(gpu).key) ?? -1, isFree: false }))
    .sort((a, b) => compareIds(a.uuid, b.uuid));
}

function subtract(from: Amounts, amounts: Amounts): void {
  from.cpuMilli -= amounts.cpuMilli;
  from.ramBytes -= amounts.ramBytes;
  from.storageBytes -= amounts.storageBytes;
}
