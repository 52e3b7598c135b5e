// Jobs, nodes and inventories in the words of a test: what it does not care for has a plain value.
import assert from 'node:assert/strict';
import type { Sql } from '../../src/db/database.ts';
import { connectNode } from '../../src/db/node-leases.ts';
import { createNode } from '../../src/db/nodes.ts';
import { newId } from '../../src/main/ids.ts';
import type { GpuInventory, Inventory } from '../../src/protocol/agent-messages.ts';
import type { CreateJobBody } from '../../src/protocol/job.ts';

type Container = CreateJobBody['parameters']['parameters'];

/** The body of a small BATCH job; `container` overrides what is in `parameters.parameters`. */
export function aJob(overrides: Record<string, unknown> & { container?: Record<string, unknown> } = {}) {
  const { container, ...fields } = overrides;
  const parameters: Container & Record<string, unknown> = { image: 'busybox', ...container };
  return {
    title: 'a job',
    max_timeout_run_ms: 600_000,
    parameters: { type: 'docker' as const, parameters },
    ...fields,
  };
}

export interface NodeWish {
  name?: string;
  cpus?: number;
  ramGb?: number;
  storageGb?: number;
  /** How many, or each by name and VRAM. */
  gpus?: number | { name: string; vramMib: number }[];
  region?: string | null;
  isolation?: 'enforced' | 'none';
  accountId?: string;
}

export function anInventory(wish: NodeWish = {}): Inventory {
  const { cpus = 8, ramGb = 32, storageGb = 500, gpus = 0, isolation = 'enforced' } = wish;
  const cards =
    typeof gpus === 'number'
      ? Array.from({ length: gpus }, () => ({ name: 'NVIDIA GeForce RTX 4090', vramMib: 24_564 }))
      : gpus;
  return {
    cpu_count: cpus,
    cpu_model: 'Test CPU',
    architecture: 'x86_64',
    ram_bytes: ramGb * 1e9,
    storage_bytes: storageGb * 1e9,
    storage_free_bytes: storageGb * 1e9,
    gpus: cards.map(toGpu),
    gpu_note: null,
    engine: { name: 'docker', version: '27.0.0', api_version: '1.41' },
    cgroup_version: 2,
    operating_system: 'Test Linux',
    isolation,
  };
}

function toGpu({ name, vramMib }: { name: string; vramMib: number }, index: number): GpuInventory {
  return { index, uuid: `GPU-${newId()}`, name, vram_mib: vramMib, driver_version: null };
}

export interface ANode {
  id: string;
  name: string;
  inventory: Inventory;
  /** What an inventory of its agent is stored by. */
  hello: number;
}

/** A ready node whose agent nobody plays: its lease holds for a day. */
export async function aNode(
  server: { database: Sql; storage: { account: { id: string } } },
  wish: NodeWish = {},
): Promise<ANode> {
  const id = newId();
  const name = wish.name ?? `node-${id.slice(-8)}`;
  const accountId = wish.accountId ?? server.storage.account.id;
  await createNode(server.database, { id, accountId, name, regionCode: wish.region ?? null, labels: {} });
  const inventory = anInventory(wish);
  const report = { nodeId: id, sessionId: newId(), agentVersion: 'test', inventory, leaseMs: 86_400_000 };
  const connected = await connectNode(server.database, report);
  assert.ok(connected);
  return { id, name, inventory, hello: connected.hello };
}
