// The prices that placements are made at: the GPU registry and the rates, read again every few seconds.
import type { Database } from '../db/database.ts';
import { discoverGpus, getRates, listRegistryGpus } from '../db/gpu-registry.ts';
import type { SchedulableNodeRow } from '../db/placement.ts';
import { vramGb } from '../domain/gpu-match.ts';
import { RegistryIndex } from '../domain/gpu-registry.ts';
import { placementGpus, rateOfPlacement } from '../domain/market.ts';
import type { Placement, PlacementGpu, PlacementNode } from '../domain/placement-model.ts';
import { freeRates, type Rates } from '../domain/price.ts';

/** A new price holds for placements this much later at most; what runs keeps its own. */
const readMs = 2_000;

export class Prices {
  readonly #database: Database;
  readonly #monotonicNow: () => number;
  #registry = new RegistryIndex([]);
  #rates: Rates = freeRates;
  readonly #unknown = new Map<string, PlacementGpu>();
  #said = '';
  #readAtMs = Number.NEGATIVE_INFINITY;

  constructor(database: Database, monotonicNow: () => number) {
    this.#database = database;
    this.#monotonicNow = monotonicNow;
  }

  /** Answers whether anything changed: cards may be known as others now. */
  async refresh(): Promise<boolean> {
    const nowMs = this.#monotonicNow();
    if (nowMs - this.#readAtMs < readMs) return false;
    const [registry, rates] = await Promise.all([listRegistryGpus(this.#database), getRates(this.#database)]);
    this.#readAtMs = nowMs;
    const said = JSON.stringify([registry, rates]);
    if (said === this.#said) return false;
    this.#said = said;
    this.#registry = new RegistryIndex(registry);
    this.#rates = rates;
    return true;
  }

  /** The node as placement sees it: each card with what the registry knows of it. */
  toPlacementNode({ isRemoved, ...node }: SchedulableNodeRow): PlacementNode {
    const gpus = placementGpus(node.gpus, this.#registry);
    for (const gpu of gpus)
      if (gpu.registryUuid === null) this.#unknown.set(`${gpu.vramMib} ${gpu.name}`, gpu);
    return { ...node, gpus };
  }

  /** Adds to the registry what nodes have and nobody described; the next refresh knows it. */
  async describeUnknown(newId: () => string): Promise<void> {
    const found = [...this.#unknown.values()];
    if (found.length === 0) return;
    await discoverGpus(
      this.#database,
      found.map((gpu) => ({ id: newId(), name: gpu.name, vramGb: Math.floor(vramGb(gpu)) })),
    );
    this.#unknown.clear();
  }

  /** Micro-dollars an hour. */
  rateOf(placement: Placement, node: PlacementNode): number {
    return rateOfPlacement(placement, node, { registry: this.#registry, rates: this.#rates });
  }
}
