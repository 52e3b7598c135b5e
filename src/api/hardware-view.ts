// Shows what a node is made of and how loaded it is, in the reference's words.
import type { NodeRecord } from '../db/nodes.ts';
import type { HardwareEvent, NodeHardware } from '../protocol/node.ts';
import { timestamp } from './job-view.ts';

const gb = 1e9;

export function gbOf(bytes: number): number {
  return Math.round((bytes / gb) * 1000) / 1000;
}

const mib = 2 ** 20;
/** The engine tells of one place for containers, whatever disks are below it. */
export const storageName = 'container storage';

/** All that the agent told, and the reference's fields made of it; null before the first connection. */
export function hardwareView({ id, inventory, ramBytes }: NodeRecord): NodeHardware | null {
  if (inventory === null) return null;
  const { parts, architecture } = inventory;
  const cpus = parts?.cpus.length
    ? parts.cpus
    : [
        {
          ...{ name: inventory.cpu_model, vendor: null, num_cores: inventory.cpu_count },
          ...{ num_threads: inventory.cpu_count, base_clock_mhz: null, features: [] },
        },
      ];
  const drives = parts?.hard_drives ?? [];
  return {
    ...inventory,
    object: 'node_hardware',
    uuid: id,
    cpus: cpus.map((cpu) => ({ ...cpu, architecture, chipset: null, device_id: null })),
    gpus: inventory.gpus.map((gpu) => ({
      ...gpu,
      device_id: gpu.uuid,
      vram_gb_max: gbOf(gpu.vram_mib * mib),
    })),
    hard_drives: [
      { name: storageName, model: null, is_rotational: null, max_capacity_gb: gbOf(inventory.storage_bytes) },
      ...drives.map(({ size_bytes, ...drive }) => ({ ...drive, max_capacity_gb: gbOf(size_bytes) })),
    ],
    rams: [{ memory_gb_max: gbOf(ramBytes) }],
  };
}

/** The last sample of an agent that sends them; it has been kept in no other form. */
export function hardwareEventView({ id, accountId, inventory, lastLoad }: NodeRecord): HardwareEvent | null {
  if (lastLoad === null) return null;
  const { atMs, load } = lastLoad;
  const gpus = new Map((inventory?.gpus ?? []).map((gpu) => [gpu.uuid, gpu]));
  return {
    object: 'node_hardware_event',
    uuid: uuidAt(id, atMs),
    timestamp_ms: atMs,
    created_at: timestamp(atMs),
    updated_at: timestamp(atMs),
    node: id,
    node_hardware: id,
    account: accountId,
    metadata: {
      cpu: { average: percent(meanOf(load.core_loads)), cores: load.core_loads.map(percent) },
      gpu: {
        average: load.gpu_utilisation === null ? null : percent(load.gpu_utilisation),
        gpus: load.gpus.map(({ uuid, utilisation, memory_used_bytes: used }) => {
          const gpu = gpus.get(uuid);
          const total = gpu === undefined ? null : gpu.vram_mib * mib;
          const free = total === null || used === null ? null : Math.max(0, total - used);
          return {
            uuid,
            name: gpu?.name ?? uuid,
            load: utilisation === null ? null : percent(utilisation),
            vram: { free, total },
          };
        }),
      },
      ram: { free: load.memory_free_bytes, total: load.memory_total_bytes },
      storage: {
        hard_drives: [
          {
            name: storageName,
            model: null,
            free_capacity: load.storage_free_bytes,
            total_capacity: load.storage_total_bytes,
          },
        ],
      },
      network: {
        rx_bytes: load.network_rx_bytes,
        tx_bytes: load.network_tx_bytes,
      },
    },
  };
}

function meanOf(values: readonly number[]): number {
  return values.length === 0 ? 0 : values.reduce((sum, value) => sum + value, 0) / values.length;
}

function percent(fraction: number): number {
  return Math.round(fraction * 1000) / 10;
}

/** A version 7 UUID of that node and moment: the same for everyone who reads the sample. */
function uuidAt(nodeId: string, atMs: number): string {
  const time = Math.floor(atMs).toString(16).padStart(12, '0');
  return `${time.slice(0, 8)}-${time.slice(8)}-7${nodeId.slice(15)}`;
}
