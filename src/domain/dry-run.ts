// Where a job would go if it were submitted now: the same rules as a plan's, on a working set that only it uses.
import type { Prices } from './market.ts';
import { rateOfPlacement } from './market.ts';
import { type PendingReason, pendingReasons } from './pending-reason.ts';
import { plan } from './placement.ts';
import { pickCards } from './placement-entry.ts';
import type { PendingJob, PlacementNode } from './placement-model.ts';
import { canTake } from './placement-shape.ts';
import type { NodeEntry, Shape } from './placement-state.ts';
import { createWorkingSet } from './placement-working-set.ts';

export interface Candidate {
  node: PlacementNode;
  gpuUuids: string[];
  hourlyRateMicros: number;
}

export interface DryRun {
  /** Nodes that could take the job now; the one it would get comes first, then the cheapest. */
  candidates: Candidate[];
  candidateCount: number;
  /** Who else is excluded and why; its code says why the job would wait when there is no candidate. */
  reason: PendingReason;
}

export function dryRun(
  nodes: readonly PlacementNode[],
  job: PendingJob,
  { prices, limit, trustTenants }: { prices: Prices; limit: number; trustTenants: boolean },
): DryRun {
  const workingSet = createWorkingSet({ trustTenants });
  for (const node of nodes) workingSet.upsertNode(node);
  workingSet.upsertJob(job);
  const [shape] = workingSet.shapes.values();
  const reason = shape === undefined ? undefined : pendingReasons(workingSet).get(shape.key);
  if (shape === undefined || reason === undefined) throw new Error('A dry run lost its job.');
  const fitting = [...workingSet.nodes.values()].filter((entry) => canTake(shape, job, entry));
  const candidates = fitting.map((entry) => candidateOf(entry, shape, prices));
  const chosenId = plan(workingSet, job.submittedAtMs, { limit: 1 }).placements[0]?.nodeId;
  const rank = ({ node }: Candidate) => (node.id === chosenId ? 0 : 1);
  candidates.sort((a, b) => rank(a) - rank(b) || a.hourlyRateMicros - b.hourlyRateMicros);
  return { candidates: candidates.slice(0, limit), candidateCount: candidates.length, reason };
}

function candidateOf(entry: NodeEntry, shape: Shape, prices: Prices): Candidate {
  const { node } = entry;
  const { need } = shape;
  const match = shape.matches[entry.hardware.index];
  const gpuUuids = match ? pickCards(entry, match, need.gpuCount) : [];
  const given = { gpuUuids, cpuCount: need.cpuMilli / 1000, ramBytes: need.ramBytes };
  return { node, gpuUuids, hourlyRateMicros: rateOfPlacement(given, node, prices) };
}
