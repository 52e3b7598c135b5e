// The scheduler's memory: nodes, pending jobs and unwritten placements, indexed so that a change costs what it touches.
//
// INVARIANTS
// - A shape with `candidates` set fits no node but possibly those: every gain of a node is put there by `wake`.
// - A node is in the index exactly when it is schedulable, not removed and not reserved.
// - `ready` holds the shapes with waiting jobs that may fit somewhere; `narrow` those whose candidates are set.
import { createEntry, describe, pickCards, recount, take } from './placement-entry.ts';
import { NodeIndex } from './placement-index.ts';
import { compareJobs, type PendingJob, type Placement, type PlacementNode } from './placement-model.ts';
import { type Need, needOf, shapeKeyOf } from './placement-need.ts';
import { type FreePorts, PublicPorts } from './placement-ports.ts';
import { canTake, createShape, matchClasses } from './placement-shape.ts';
import type { Hold, NodeEntry, Reservation, Shape } from './placement-state.ts';

export interface WorkingSetOptions {
  /** Nodes without enforced isolation take every account's jobs. */
  trustTenants?: boolean;
  /** A job first in its line that waited longer gets a node held for it. */
  reserveAfterMs?: number;
  /** At most so many nodes are held at once, and never more than a quarter (but one) of those there are. */
  maxReservations?: number;
}

export function createWorkingSet(options: WorkingSetOptions = {}): WorkingSet {
  return new WorkingSet(options);
}

// Beyond this a search of the index is cheaper than a look at each candidate.
const maxCandidates = 32;
// Lines that emptied keep what is known of their shape, up to this number.
const maxIdleShapes = 1000;

export class WorkingSet {
  readonly reserveAfterMs: number;
  readonly maxReservations: number;
  readonly index = new NodeIndex();
  readonly nodes = new Map<string, NodeEntry>();
  readonly shapes = new Map<string, Shape>();
  readonly ready = new Set<Shape>();
  readonly narrow = new Set<Shape>();
  /** Lines whose first job wants more public ports than there are. */
  readonly portless = new Set<Shape>();
  readonly reservations: Reservation[] = [];
  nextReviewAtMs = 0;
  readonly #trustTenants: boolean;
  /** null: nobody counts them. */
  #publicPorts: PublicPorts | null = null;
  readonly #jobs = new Map<string, { job: PendingJob; shape: Shape }>();
  readonly #holds = new Map<string, Hold>();
  readonly #gained = new Set<NodeEntry>();
  /** Accounts that own nodes without isolation, with the number of those nodes. */
  readonly #owners = new Map<string, number>();

  constructor(options: WorkingSetOptions) {
    this.#trustTenants = options.trustTenants ?? false;
    this.reserveAfterMs = options.reserveAfterMs ?? 60_000;
    this.maxReservations = options.maxReservations ?? 4;
  }

  get pendingCount(): number {
    return this.#jobs.size;
  }

  /**
   * Adds a node or takes over its new figures; older versions are ignored. Placements not confirmed yet stay
   * subtracted: the figures must have been read before those were written.
   */
  upsertNode(node: PlacementNode): void {
    const known = this.nodes.get(node.id);
    if (known !== undefined && node.version < known.node.version) return;
    const owner = this.#ownerOf(node);
    const previousOwner = known?.hardware.ownerAccountId ?? null;
    const hardware = this.index.classOf(node, owner);
    if (known === undefined) this.#addNode(createEntry(node, hardware));
    else this.#updateNode(known, () => describe(known, node, hardware));
    if (owner === previousOwner) return;
    this.#countOwner(previousOwner, -1);
    this.#countOwner(owner, 1);
  }

  removeNode(nodeId: string): void {
    const entry = this.nodes.get(nodeId);
    if (entry === undefined) return;
    this.#dropReservation(entry.reservation);
    entry.isRemoved = true;
    this.index.remove(entry);
    entry.hardware.members.delete(entry);
    this.#gained.delete(entry);
    this.nodes.delete(nodeId);
    this.#countOwner(entry.hardware.ownerAccountId, -1);
  }

  /** Adds a pending job or takes over its new form. */
  upsertJob(job: PendingJob): void {
    const hold = this.#holds.get(job.id);
    if (hold !== undefined) {
      hold.job = job;
      hold.isJobRemoved = false;
      return;
    }
    const pending = this.#jobs.get(job.id);
    if (pending !== undefined && this.#isSamePlace(pending, job)) {
      pending.shape.queue.replace(job);
      pending.job = job;
      return;
    }
    if (pending !== undefined) this.#dequeue(pending.job, pending.shape);
    this.#enqueue(job);
  }

  /** Forgets a job that is no longer pending. An unwritten placement of it stays until confirmed or reverted. */
  removeJob(jobId: string): void {
    const hold = this.#holds.get(jobId);
    if (hold !== undefined) hold.isJobRemoved = true;
    const pending = this.#jobs.get(jobId);
    if (pending === undefined) return;
    this.#dequeue(pending.job, pending.shape);
  }

  /**
   * The database took the placement. It stays subtracted until the next figure of the node, which must have been read
   * after that write.
   */
  confirm(jobId: string): void {
    const hold = this.#holds.get(jobId);
    if (hold === undefined) return;
    hold.isConfirmed = true;
    this.#holds.delete(jobId);
  }

  /**
   * The database skipped the placement: its capacity is free again and the job back at its place in line. Upsert the
   * node (or remove the job) with what the database says now, or the next plan repeats the refused one.
   */
  revert(jobId: string): void {
    const hold = this.#holds.get(jobId);
    if (hold === undefined) return;
    this.#holds.delete(jobId);
    const entry = this.nodes.get(hold.nodeId);
    if (entry !== undefined) {
      this.#updateNode(entry, () => {
        entry.holds.delete(hold);
        recount(entry);
      });
    }
    if (!hold.isJobRemoved) this.#enqueue(hold.job);
  }

  /** 1 for the pending job that goes before all others, by priority and age; null when the job is not pending. */
  queuePosition(jobId: string): number | null {
    const pending = this.#jobs.get(jobId);
    if (pending === undefined) return null;
    let before = 0;
    for (const shape of this.shapes.values()) before += shape.queue.countBefore(pending.job);
    return before + 1;
  }

  /** The key under which plans give the reason why this job waits; null when it is not pending. */
  shapeKey(jobId: string): string | null {
    return this.#jobs.get(jobId)?.shape.key ?? null;
  }

  /** Whether a pending job names public ports, so that it matters how many there are. */
  get wantsPorts(): boolean {
    for (const shape of this.shapes.values())
      if (shape.need.publicPortCount > 0 && shape.queue.length > 0) return true;
    return false;
  }

  /** What is free by now; placements that are not written yet must not be under way. */
  setFreePorts(free: FreePorts): void {
    this.#publicPorts = new PublicPorts(free);
    for (const shape of this.portless) {
      if (!this.hasPorts(shape)) continue;
      this.portless.delete(shape);
      this.ready.add(shape);
    }
  }

  /** Enough public ports for one more job of the shape. */
  hasPorts({ need }: Shape): boolean {
    if (this.#publicPorts === null || need.publicPortCount === 0) return true;
    return need.publicPortCount <= this.#publicPorts.availableTo(need.accountId ?? '');
  }

  /** The line waits for public ports, whatever nodes gain meanwhile. */
  holdForPorts(shape: Shape): void {
    this.portless.add(shape);
    this.ready.delete(shape);
  }

  /** Takes the node's capacity for the first job of the shape. */
  place(shape: Shape, job: PendingJob, entry: NodeEntry): Placement {
    const match = shape.matches[entry.hardware.index];
    const gpuUuids = match ? pickCards(entry, match, shape.need.gpuCount) : [];
    const { cpuMilli, ramBytes, storageBytes } = shape.need;
    const nodeId = entry.node.id;
    const nodeVersion = entry.node.version;
    const hold: Hold = {
      ...{ job, nodeId, gpuUuids, cpuMilli, ramBytes, storageBytes },
      ...{ isConfirmed: false, isJobRemoved: false },
    };
    this.#dequeue(job, shape);
    this.#holds.set(job.id, hold);
    take(entry, hold);
    this.#publicPorts?.take(job.accountId, shape.need.publicPortCount);
    if (entry.reservation === null) this.index.place(entry);
    const cpuCount = cpuMilli / 1000;
    return { jobId: job.id, nodeId, nodeVersion, gpuUuids, cpuCount, ramBytes, storageBytes };
  }

  /** The shape fits nowhere: it is left alone until a node gains. */
  block(shape: Shape): void {
    shape.candidates = new Set();
    this.narrow.add(shape);
    this.ready.delete(shape);
  }

  /** Readies the blocked shapes that a node which gained may fit; gives those that were not ready before. */
  wake(): Shape[] {
    const woken: Shape[] = [];
    for (const entry of this.#gained) {
      for (const shape of this.narrow) {
        const job = shape.queue.head();
        matchClasses(shape, this.index.classes);
        if (job === undefined || !canTake(shape, job, entry)) continue;
        if (this.#addCandidate(shape, entry)) woken.push(shape);
      }
    }
    this.#gained.clear();
    return woken;
  }

  reserve(reservation: Reservation): void {
    this.reservations.push(reservation);
    reservation.entry.reservation = reservation;
    this.index.remove(reservation.entry);
  }

  dropReservations(): void {
    for (const reservation of [...this.reservations]) this.#dropReservation(reservation);
  }

  #addNode(entry: NodeEntry): void {
    this.nodes.set(entry.node.id, entry);
    entry.hardware.members.add(entry);
    for (const hold of this.#holds.values()) if (hold.nodeId === entry.node.id) entry.holds.add(hold);
    recount(entry);
    this.#reindex(entry);
    this.#gained.add(entry);
  }

  /** Changes the entry's figures and says so to the shapes when they got better. */
  #updateNode(entry: NodeEntry, change: () => void): void {
    const before = { free: { ...entry.free }, cards: entry.freeByKind, hardware: entry.hardware };
    const { cell } = entry;
    change();
    if (before.hardware !== entry.hardware) {
      const { hardware } = entry;
      entry.hardware = before.hardware;
      this.index.remove(entry);
      entry.hardware = hardware;
      before.hardware.members.delete(entry);
      hardware.members.add(entry);
    }
    if (!entry.node.isSchedulable) this.#dropReservation(entry.reservation);
    this.#reindex(entry);
    const hasGained =
      before.hardware !== entry.hardware ||
      entry.free.cpuMilli > before.free.cpuMilli ||
      entry.free.ramBytes > before.free.ramBytes ||
      entry.free.storageBytes > before.free.storageBytes ||
      entry.freeByKind.some((count, kind) => count > (before.cards[kind] ?? 0));
    if (hasGained || (cell === null && entry.cell !== null)) this.#gained.add(entry);
  }

  #reindex(entry: NodeEntry): void {
    if (entry.node.isSchedulable && entry.reservation === null) this.index.place(entry);
    else this.index.remove(entry);
  }

  #enqueue(job: PendingJob): void {
    const shape = this.#shapeFor(this.#needOf(job));
    this.#jobs.set(job.id, { job, shape });
    const wasIdle = shape.queue.length === 0;
    shape.queue.add(job);
    if (wasIdle) {
      shape.candidates = null;
      this.ready.add(shape);
    } else if (shape.candidates !== null && shape.queue.head() === job) {
      // It may go before the holder of a reserved node, which the job behind it could not.
      for (const { entry } of this.reservations) {
        if (canTake(shape, job, entry)) this.#addCandidate(shape, entry);
      }
    }
  }

  #dequeue(job: PendingJob, shape: Shape): void {
    this.#jobs.delete(job.id);
    shape.queue.remove(job);
    const held = this.reservations.find((reservation) => reservation.job.id === job.id);
    this.#dropReservation(held ?? null);
    if (shape.queue.length > 0) return;
    this.ready.delete(shape);
    this.narrow.delete(shape);
    this.portless.delete(shape);
  }

  #isSamePlace(pending: { job: PendingJob; shape: Shape }, job: PendingJob): boolean {
    return compareJobs(pending.job, job) === 0 && shapeKeyOf(this.#needOf(job)) === pending.shape.key;
  }

  #needOf(job: PendingJob): Need {
    const { publicPortCount = 0 } = job.requirements;
    const isOfAccount = publicPortCount > 0 || this.#owners.has(job.accountId);
    return needOf(job.requirements, isOfAccount ? job.accountId : null);
  }

  #shapeFor(need: Need): Shape {
    const key = shapeKeyOf(need);
    const known = this.shapes.get(key);
    if (known !== undefined) return known;
    if (this.shapes.size > maxIdleShapes + this.ready.size + this.narrow.size) this.#forgetIdleShapes();
    const shape = createShape(key, need);
    this.shapes.set(key, shape);
    return shape;
  }

  #forgetIdleShapes(): void {
    for (const shape of this.shapes.values()) if (shape.queue.length === 0) this.shapes.delete(shape.key);
  }

  /** True when the shape was not ready before. */
  #addCandidate(shape: Shape, entry: NodeEntry): boolean {
    shape.candidates?.add(entry);
    if (shape.candidates !== null && shape.candidates.size > maxCandidates) {
      shape.candidates = null;
      this.narrow.delete(shape);
    }
    if (this.ready.has(shape)) return false;
    this.ready.add(shape);
    return true;
  }

  #dropReservation(reservation: Reservation | null): void {
    if (reservation === null) return;
    const at = this.reservations.indexOf(reservation);
    if (at >= 0) this.reservations.splice(at, 1);
    reservation.entry.reservation = null;
    this.#reindex(reservation.entry);
    this.#gained.add(reservation.entry);
  }

  #ownerOf(node: PlacementNode): string | null {
    return node.isolation === 'none' && !this.#trustTenants ? node.accountId : null;
  }

  /** An account's first own node, or the loss of its last, changes which shape its jobs have. */
  #countOwner(accountId: string | null, change: number): void {
    if (accountId === null) return;
    const before = this.#owners.get(accountId) ?? 0;
    if (before + change > 0) this.#owners.set(accountId, before + change);
    else this.#owners.delete(accountId);
    if (before > 0 === before + change > 0) return;
    const jobs = [...this.#jobs.values()].filter(({ job }) => job.accountId === accountId);
    for (const { job, shape } of jobs) {
      this.#dequeue(job, shape);
      this.#enqueue(job);
    }
  }
}
