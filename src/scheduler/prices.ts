// The prices that placements are made at: the GPU registry and the rates, read again every few seconds.
import type { Database } from '../db/database.ts';
import { getRates, listRegistryGpus } from '../db/gpu-registry.ts';
import type { SchedulableNodeRow } from '../db/placement.ts';
import { RegistryIndex } from '../domain/gpu-registry.ts';
import { placementGpus, rateOfPlacement } from '../domain/market.ts';
import type { Placement, PlacementNode } from '../domain/placement-model.ts';
import { freeRates, type Rates } from '../domain/price.ts';

/** A new price holds for placements this much later at most; what runs keeps its own. */
const readMs = 2_000;

export class Prices {
  readonly #database: Database;
  readonly #monotonicNow: () => number;
  #registry = new RegistryIndex([]);
  #rates: Rates = freeRates;
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
    return { ...node, gpus: placementGpus(node.gpus, this.#registry) };
  }

  /** Micro-dollars an hour. */
  rateOf(placement: Placement, node: PlacementNode): number {
    return rateOfPlacement(placement, node, { registry: this.#registry, rates: this.#rates });
  }
}
