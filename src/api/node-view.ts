// Shows nodes and their events as the API does.
import type { NodeEventRecord } from '../db/node-events.ts';
import type { NodeRecord } from '../db/nodes.ts';
import { reputationOf } from '../domain/reputation.ts';
import type { GpuInventory } from '../protocol/agent-messages.ts';
import type { Node, NodeEvent } from '../protocol/node.ts';
import { gbOf, hardwareEventView, hardwareView, storageName } from './hardware-view.ts';
import { nullableTimestamp, timestamp } from './job-view.ts';

export function nodeView(node: NodeRecord): Node {
  const { inventory } = node;
  const allocated = new Set(node.allocatedGpuUuids);
  const isFree = (gpu: GpuInventory) => !allocated.has(gpu.uuid) && gpu.health !== 'quarantined';
  return {
    object: 'node',
    _id: node.id,
    uuid: node.id,
    name: node.name,
    status: node.status,
    status_reason: reasonOf(node),
    is_cordoned: node.isCordoned,
    drain: drainView(node),
    awaits_restore_word: node.awaitsWord,
    orphans: node.orphans.map((orphan) => ({
      run_uuid: orphan.runId,
      attempt: orphan.attempt,
      state: orphan.state,
      first_seen_at: timestamp(orphan.firstSeenAtMs),
      removal_at: nullableTimestamp(orphan.removalAtMs),
    })),
    region_code: node.regionCode,
    labels: node.labels,
    reputation: Math.round(reputationOf(node.promises) * 1000) / 10,
    isolation: node.isolation,
    agent_version: node.agentVersion,
    cpus: inventory === null ? [] : [{ name: inventory.cpu_model, num_cores: inventory.cpu_count }],
    gpus: (inventory?.gpus ?? []).map((gpu) => ({
      uuid: gpu.uuid,
      name: gpu.name,
      vram_gb_available: isFree(gpu) ? gbOf(gpu.vram_mib * 1024 * 1024) : 0,
      vram_gb_max: gbOf(gpu.vram_mib * 1024 * 1024),
      is_allocated: allocated.has(gpu.uuid),
      is_quarantined: gpu.health === 'quarantined',
      quarantine_reason: gpu.health_reason ?? null,
    })),
    hard_drives: [
      {
        name: storageName,
        available_capacity_gb: gbOf(node.storageBytes - node.storageAllocated),
        max_capacity_gb: gbOf(node.storageBytes),
      },
    ],
    rams: [
      { memory_gb_available: gbOf(node.ramBytes - node.ramAllocated), memory_gb_max: gbOf(node.ramBytes) },
    ],
    ramTotal: gbOf(node.ramBytes),
    job_run_count: node.runCount,
    current_hardware: hardwareView(node),
    latest_hardware_event: hardwareEventView(node),
    created_at: timestamp(node.createdAtMs),
    updated_at: timestamp(node.updatedAtMs),
    last_seen_at: nullableTimestamp(node.lastSeenAtMs),
  };
}

const restoreReason =
  'The database was restored to an earlier state: the node removes nothing and takes no work until "flotilla node accept-restore".';

function reasonOf({ awaitsWord, statusReason, cordonReason, inventory }: NodeRecord): string | null {
  return awaitsWord ? restoreReason : (statusReason ?? inventory?.engine_note ?? cordonReason);
}

function drainView({ drain, runCount }: NodeRecord): Node['drain'] {
  if (drain === null) return null;
  return {
    requested_at: timestamp(drain.requestedAtMs),
    deadline_at: timestamp(drain.deadlineAtMs),
    runs_left: runCount,
  };
}

export function nodeEventView(event: NodeEventRecord): NodeEvent {
  return {
    object: 'node_event',
    id: event.id,
    node_uuid: event.nodeId,
    created_at: timestamp(event.createdAtMs),
    kind: event.kind,
    actor: event.actor,
    detail: event.detail,
  };
}
