// The sentence that tells a person why their job waits.
import type { Need } from './placement-need.ts';
import type { Exclusion } from './placement-state.ts';

export const pendingCodes = [
  'no_nodes',
  'nodes_unavailable',
  'gpu_model_unknown',
  'gpu_registry_unknown',
  'isolation',
  'region',
  'no_fitting_node',
  'busy',
  'no_public_port',
  'queued',
] as const;
/**
 * `busy`: fits an empty node, waits for capacity. `no_fitting_node`: fits none even when empty. `nodes_unavailable`:
 * fits only nodes that take no work now. `no_public_port`: fits a node now, waits for ports of the gateway. `queued`: fits
 * a node now, its turn comes.
 */
export type PendingCode = (typeof pendingCodes)[number];

export interface Findings {
  code: PendingCode;
  need: Need;
  excluded: Readonly<Partial<Record<Exclusion, number>>>;
  fitsUnavailable: number;
  wouldFit: string | null;
}

export function messageFor(findings: Findings): string {
  const { wouldFit } = findings;
  return wouldFit === null ? `${reason(findings)}.` : `${reason(findings)}; ${wouldFit}.`;
}

function reason({ code, need, excluded, fitsUnavailable }: Findings): string {
  switch (code) {
    case 'no_nodes':
      return 'No node is registered; add one with `flotilla node register`';
    case 'nodes_unavailable':
      return fitsUnavailable > 0
        ? `Fits ${nodes(fitsUnavailable)} that ${fitsUnavailable === 1 ? 'takes' : 'take'} no work now (unreachable or cordoned)`
        : 'No node takes work now: all are unreachable or cordoned';
    case 'gpu_model_unknown':
      return `No node has a GPU named "${need.gpuName}"`;
    case 'gpu_registry_unknown':
      return `No node has the GPU with registry uuid ${need.gpuRegistryUuid}`;
    case 'isolation':
      return 'The only nodes belong to other accounts and cannot isolate jobs';
    case 'region':
      return `No node is in ${need.regions.length === 1 ? 'region' : 'regions'} ${need.regions.join(', ')}`;
    case 'no_fitting_node':
      return `Needs ${wanted(need, excluded)}, which no node has`;
    case 'busy':
      return `Waits for ${scarce(excluded)} on ${nodes(busyCount(excluded))} that ${busyCount(excluded) === 1 ? 'fits' : 'fit'} when free`;
    case 'no_public_port':
      return `No public port is free: needs ${need.publicPortCount} of the gateway, which are in use or rest after use`;
    case 'queued':
      return 'Fits a node now and is placed when its turn comes';
  }
}

/** The requirement that excluded the nodes which came nearest. */
function wanted(need: Need, excluded: Findings['excluded']): string {
  const cards = `${need.gpuCount} ${need.gpuCount === 1 ? 'GPU' : 'GPUs'}`;
  if (excluded.storage) return `${need.storageBytes / 1e9} GB of storage`;
  if (excluded.ram) return `${need.ramBytes / 1e9} GB of RAM`;
  if (excluded.cpu) return `${need.cpuMilli / 1000} ${need.cpuMilli === 1000 ? 'CPU' : 'CPUs'}`;
  if (excluded.gpu_count) return `${cards} in one node`;
  if (excluded.vram) return `${need.minVramGb} GB of VRAM`;
  if (excluded.gpu_model) return `${cards} named "${need.gpuName}" in the allowed regions`;
  if (excluded.gpu_registry) return `GPU ${need.gpuRegistryUuid} in the allowed regions`;
  return cards;
}

function scarce(excluded: Findings['excluded']): string {
  const names: [Exclusion, string][] = [
    ['gpu_busy', 'GPUs'],
    ['cpu_busy', 'CPUs'],
    ['ram_busy', 'RAM'],
    ['storage_busy', 'storage'],
    ['reserved', 'room that is held for a job that waited longer'],
  ];
  const present = names.filter(([name]) => (excluded[name] ?? 0) > 0);
  return present.map(([, words]) => words).join(', ');
}

function busyCount(excluded: Findings['excluded']): number {
  const { gpu_busy = 0, cpu_busy = 0, ram_busy = 0, storage_busy = 0, reserved = 0 } = excluded;
  return gpu_busy + cpu_busy + ram_busy + storage_busy + reserved;
}

function nodes(count: number): string {
  return count === 1 ? '1 node' : `${count} nodes`;
}
