// Keeps small jobs from starving a large one: a long waiter gets the node that lacks least for it held.
import { usableCards } from './placement-entry.ts';
import { compareIds, type PendingJob } from './placement-model.ts';
import { couldTakeEmpty } from './placement-shape.ts';
import type { NodeEntry, Shape } from './placement-state.ts';
import type { WorkingSet } from './placement-working-set.ts';

/** How often nodes are chosen anew for the long waiters; a freed node may have come closer than the held one. */
const reviewIntervalMs = 1000;

export function isLongWaiter(workingSet: WorkingSet, job: PendingJob, now: number): boolean {
  return now - job.waitingSinceMs > workingSet.reserveAfterMs;
}

/**
 * Once an interval, gives all held nodes back and readies every line whose first job waited long. The pass that
 * follows goes by queue order, so the first of them get the nodes held again before any later job is looked at.
 */
export function reviewReservations(workingSet: WorkingSet, now: number): void {
  if (now < workingSet.nextReviewAtMs) return;
  workingSet.nextReviewAtMs = now + reviewIntervalMs;
  workingSet.dropReservations();
  workingSet.wake();
  for (const shape of workingSet.narrow) {
    const job = shape.queue.head();
    if (job !== undefined && isLongWaiter(workingSet, job, now)) workingSet.ready.add(shape);
  }
}

/** Holds a node for the job, where one could ever fit it and few are held. */
export function reserveFor(workingSet: WorkingSet, shape: Shape, job: PendingJob): void {
  const most = Math.min(workingSet.maxReservations, Math.ceil(workingSet.nodes.size / 4));
  if (workingSet.reservations.length >= most) return;
  if (workingSet.reservations.some((reservation) => reservation.job.id === job.id)) return;
  const entry = nearest(shape, job);
  if (entry !== null) workingSet.reserve({ job, shape, entry });
}

/** The node that lacks least: cards first, since they are freed one run at a time, then the other amounts. */
function nearest(shape: Shape, job: PendingJob): NodeEntry | null {
  let best: { entry: NodeEntry; lack: number } | null = null;
  for (const group of shape.groups) {
    for (const match of group.matches) {
      for (const entry of match.hardware.members) {
        if (!entry.node.isSchedulable || entry.reservation !== null || !couldTakeEmpty(shape, entry))
          continue;
        const cards = Math.max(0, shape.need.gpuCount - usableCards(match, entry.freeByKind));
        const avoided = job.avoidNodeIds.includes(entry.node.id) ? 1e6 : 0;
        const lack = avoided + cards * 10 + lackOfAmounts(shape, entry);
        const order = best === null ? -1 : lack - best.lack || compareIds(entry.node.id, best.entry.node.id);
        if (order < 0) best = { entry, lack };
      }
    }
  }
  return best?.entry ?? null;
}

function lackOfAmounts({ need }: Shape, { free }: NodeEntry): number {
  const share = (needed: number, available: number) => Math.max(0, needed - available) / needed;
  return (
    share(need.cpuMilli, free.cpuMilli) +
    share(need.ramBytes, free.ramBytes) +
    share(need.storageBytes, free.storageBytes)
  );
}
