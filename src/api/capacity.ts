// What the cluster has right now, as the API shows it: nodes with their free capacity and the prices, read at most once a second.

import type { Database } from '../db/database.ts';
import { type GpuRegistryRecord, getRates, listRegistryGpus } from '../db/gpu-registry.ts';
import { feedStart, listChangedNodes } from '../db/placement.ts';
import { RegistryIndex } from '../domain/gpu-registry.ts';
import { type Prices, placementGpus } from '../domain/market.ts';
import type { PlacementNode } from '../domain/placement-model.ts';

export interface Capacity {
  nodes: readonly PlacementNode[];
  registry: readonly GpuRegistryRecord[];
  prices: Prices;
  readAtMs: number;
}

export interface CapacityReader {
  read(): Promise<Capacity>;
  /** The next look reads anew: a price was just changed. */
  forget(): void;
}

/** All nodes of ten thousand are read for one look, so looks share it. */
const keptMs = 1_000;

export function createCapacityReader(database: Database, now: () => number): CapacityReader {
  let kept: Promise<Capacity> | null = null;
  let askedAtMs = Number.NEGATIVE_INFINITY;
  return {
    read() {
      const nowMs = now();
      if (kept !== null && nowMs - askedAtMs >= 0 && nowMs - askedAtMs < keptMs) return kept;
      askedAtMs = nowMs;
      kept = readCapacity(database, nowMs);
      kept.catch(() => {
        kept = null;
      });
      return kept;
    },
    forget() {
      kept = null;
    },
  };
}

async function readCapacity(database: Database, nowMs: number): Promise<Capacity> {
  const [registry, rates, rows] = await Promise.all([
    listRegistryGpus(database),
    getRates(database),
    listChangedNodes(database, feedStart),
  ]);
  const index = new RegistryIndex(registry);
  const nodes = rows
    .filter(({ isRemoved }) => !isRemoved)
    .map((node) => ({ ...node, gpus: placementGpus(node.gpus, index) }));
  return { nodes, registry, prices: { registry: index, rates }, readAtMs: nowMs };
}

/** Nodes that the account's jobs may go to. */
export function nodesOpenTo({ nodes }: Capacity, accountId: string, trustTenants: boolean): PlacementNode[] {
  return nodes.filter(
    (node) => trustTenants || node.isolation === 'enforced' || node.accountId === accountId,
  );
}
