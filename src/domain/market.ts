// What nodes offer and what it costs: cards as the GPU registry knows them, the rate of a placement, and offers.
import { type GpuModel, vramGb } from './gpu-match.ts';
import type { RegistryIndex } from './gpu-registry.ts';
import type { Placement, PlacementGpu, PlacementNode } from './placement-model.ts';
import { hourlyRateMicros, type Rates } from './price.ts';

export interface Prices {
  registry: RegistryIndex;
  rates: Rates;
}

/** Cards with what the registry knows of their model. */
export function placementGpus(
  gpus: readonly { uuid: string; name: string; vram_mib: number; isAllocated: boolean }[],
  registry: RegistryIndex,
): PlacementGpu[] {
  return gpus.map(({ uuid, name, vram_mib: vramMib, isAllocated }) => {
    const entry = registry.find({ name, vramMib });
    return {
      uuid,
      name,
      vramMib,
      isAllocated,
      registryUuid: entry?.id ?? null,
      registryVramGb: entry?.vramGb ?? null,
    };
  });
}

/** Micro-dollars an hour of what a placement gives. */
export function rateOfPlacement(
  { gpuUuids, cpuCount, ramBytes }: Pick<Placement, 'gpuUuids' | 'cpuCount' | 'ramBytes'>,
  node: PlacementNode,
  { registry, rates }: Prices,
): number {
  const given = node.gpus.filter(({ uuid }) => gpuUuids.includes(uuid));
  const gpuRatesMicros = given.map((gpu) => registry.find(gpu)?.hourlyRateMicros ?? null);
  return hourlyRateMicros({ gpuRatesMicros, cpuCount, ramBytes }, rates);
}

/** Cards of one model, or none, that could be had on one node right now. */
export interface Offer {
  nodeId: string;
  regionCode: string | null;
  gpuName: string | null;
  registryUuid: string | null;
  /** Of one card, in GiB as sold. */
  minVramGib: number;
  /** What the price is for. */
  gpuCount: number;
  freeGpuCount: number;
  totalGpuCount: number;
  cpuFree: number;
  ramFree: number;
  storageFree: number;
  hourlyRateMicros: number;
}

/**
 * What could be rented of a node: for each model with a free card one offer, of `gpuCount` cards where that is asked
 * for, else of all that are free; and the node without cards where none is asked for.
 */
export function offersOf(node: PlacementNode, prices: Prices, gpuCount: number | null = null): Offer[] {
  if (!node.isSchedulable || node.cpuFree <= 0) return [];
  const offer = (cards: readonly PlacementGpu[]): Offer | null => {
    const free = cards.filter(({ isAllocated }) => !isAllocated);
    const count = gpuCount ?? free.length;
    if (cards.length > 0 && (count === 0 || free.length < count)) return null;
    const given = free.slice(0, count);
    const amounts = {
      gpuUuids: given.map(({ uuid }) => uuid),
      cpuCount: node.cpuFree,
      ramBytes: node.ramFree,
    };
    return {
      nodeId: node.id,
      regionCode: node.regionCode,
      gpuName: cards[0]?.name ?? null,
      registryUuid: cards[0]?.registryUuid ?? null,
      minVramGib: Math.min(...cards.map(vramGib), ...(cards.length === 0 ? [0] : [])),
      gpuCount: cards.length === 0 ? 0 : count,
      freeGpuCount: free.length,
      totalGpuCount: cards.length,
      cpuFree: node.cpuFree,
      ramFree: node.ramFree,
      storageFree: node.storageFree,
      hourlyRateMicros: rateOfPlacement(amounts, node, prices),
    };
  };
  const byModel = Map.groupBy(node.gpus, (gpu) => `${gpu.registryUuid} ${gpu.name} ${gpu.vramMib}`);
  const groups: PlacementGpu[][] = [...byModel.values()];
  if (gpuCount === 0 || node.gpus.length === 0) groups.push([]);
  return groups
    .filter((cards) => cards.length > 0 || (gpuCount ?? 0) === 0)
    .map(offer)
    .filter((it) => it !== null);
}

function vramGib(gpu: GpuModel): number {
  return Math.min(Math.ceil(gpu.vramMib / 1024), Math.floor(vramGb(gpu)));
}
