// Decides which pending job goes on which node and cards: working set and time in, placements and reasons out.

import { type PendingReason, pendingReasons } from './pending-reason.ts';
import { isTighter } from './placement-index.ts';
import type { PendingJob, Placement } from './placement-model.ts';
import { LineHeap } from './placement-queue.ts';
import { isLongWaiter, reserveFor, reviewReservations } from './placement-reservation.ts';
import { canTake, matchClasses } from './placement-shape.ts';
import type { NodeEntry, Shape } from './placement-state.ts';
import type { WorkingSet } from './placement-working-set.ts';

export interface PlanOptions {
  /** At most so many placements; what is left over waits for the next plan. */
  limit: number;
  /** Reasons cost a look at every node for every shape: ask for them at most once a second. */
  withReasons?: boolean;
}

export interface Plan {
  /** In the order decided. Already reserved in the working set: confirm or revert each. */
  placements: Placement[];
  /** Why jobs wait, by shape key, for all shapes that have waiting jobs; empty unless asked for. */
  pending: Map<string, PendingReason>;
  /** Jobs found to fit nowhere in this pass. */
  unfitCount: number;
}

/**
 * Goes through the jobs by priority and age. One that fits nowhere blocks nobody: the jobs of its shape are skipped
 * together, and not looked at again until a node gains what could fit them.
 */
export function plan(workingSet: WorkingSet, now: number, { limit, withReasons }: PlanOptions): Plan {
  workingSet.wake();
  reviewReservations(workingSet, now);
  const lines = new LineHeap<Shape>();
  for (const shape of workingSet.ready) lines.push(shape);
  const placements: Placement[] = [];
  let unfitCount = 0;
  while (placements.length < limit) {
    // A job that takes its reserved node frees the rest of it, which may fit a shape passed over before.
    if (lines.size === 0) for (const shape of workingSet.wake()) lines.push(shape);
    const shape = lines.top();
    const job = shape?.queue.head();
    if (shape === undefined || job === undefined) break;
    if (!workingSet.hasPorts(shape)) {
      unfitCount += shape.queue.length;
      lines.pop();
      workingSet.holdForPorts(shape);
      continue;
    }
    const entry = findNode(workingSet, shape, job);
    if (entry !== null) {
      placements.push(workingSet.place(shape, job, entry));
      if (shape.queue.length > 0) lines.siftTop();
      else lines.pop();
    } else {
      unfitCount += shape.queue.length;
      lines.pop();
      workingSet.block(shape);
      if (isLongWaiter(workingSet, job, now)) reserveFor(workingSet, shape, job);
    }
  }
  return { placements, pending: withReasons ? pendingReasons(workingSet) : new Map(), unfitCount };
}

function findNode(workingSet: WorkingSet, shape: Shape, job: PendingJob): NodeEntry | null {
  matchClasses(shape, workingSet.index.classes);
  if (shape.candidates !== null) return bestOf(shape.candidates, shape, job);
  const found = workingSet.index.search(shape, job.avoidNodeIds);
  if (found !== null && !job.avoidNodeIds.includes(found.node.id)) return found;
  const reserved = workingSet.reservations.map(({ entry }) => entry);
  return bestOf(found === null ? reserved : [found, ...reserved], shape, job);
}

/** The same choice as the index makes, among few nodes: not avoided, not reserved, least VRAM, tightest. */
function bestOf(entries: Iterable<NodeEntry>, shape: Shape, job: PendingJob): NodeEntry | null {
  let best: NodeEntry | null = null;
  for (const entry of entries) {
    if (canTake(shape, job, entry) && (best === null || isBetter(entry, best, shape, job))) best = entry;
  }
  return best;
}

function isBetter(a: NodeEntry, b: NodeEntry, shape: Shape, job: PendingJob): boolean {
  const preference = (entry: NodeEntry) =>
    (job.avoidNodeIds.includes(entry.node.id) ? 2 : 0) + (entry.reservation === null ? 0 : 1);
  const byPreference = preference(a) - preference(b);
  if (byPreference !== 0) return byPreference < 0;
  const rank = (entry: NodeEntry) => shape.matches[entry.hardware.index]?.rank ?? 0;
  return rank(a) !== rank(b) ? rank(a) < rank(b) : isTighter(a, b);
}
