// The working set's internal shapes: what the index, the queues and the plan share.
import type { GpuModel } from './gpu-match.ts';
import type { PendingJob, PlacementNode } from './placement-model.ts';
import type { Need } from './placement-need.ts';
import type { JobQueue } from './placement-queue.ts';

/** Cards that no job can tell apart. */
export interface GpuKind extends GpuModel {
  key: string;
  registryUuid: string | null;
  registryVramGb: number | null;
}

/**
 * Nodes alike in all that never changes by placing: region, tenancy, kinds of card. A shape is judged once per class.
 * `kinds` is in order of VRAM.
 */
export interface HardwareClass {
  /** Place in the list of classes; classes are never removed, their number is that of hardware ever seen. */
  index: number;
  region: string | null;
  /** Set where only this account's jobs may go. */
  ownerAccountId: string | null;
  kinds: readonly GpuKind[];
  members: Set<NodeEntry>;
  /** Free schedulable nodes by free cards, least free first; none is empty. */
  buckets: Bucket[];
}

/** Nodes with exactly these free cards. */
export interface Bucket {
  key: string;
  freeByKind: readonly number[];
  totalFree: number;
  /** Tightest first; none is empty. */
  cells: Cell[];
}

/** Nodes with about this much CPU and RAM free, in id order. */
export interface Cell {
  bucket: Bucket;
  key: number;
  tightness: number;
  entries: NodeEntry[];
  /** Upper bounds of what an entry has free: a cell that cannot help is skipped without a look inside. */
  maxCpuMilli: number;
  maxRamBytes: number;
  maxStorageBytes: number;
}

export interface Amounts {
  cpuMilli: number;
  ramBytes: number;
  storageBytes: number;
}

/** A node in the working set: the database's figures less the holds it does not know of yet. */
export interface NodeEntry {
  node: PlacementNode;
  hardware: HardwareClass;
  total: Amounts;
  free: Amounts;
  cards: Card[];
  totalByKind: number[];
  freeByKind: number[];
  holds: Set<Hold>;
  /** null: not in the index (not schedulable, reserved or removed). */
  cell: Cell | null;
  reservation: Reservation | null;
  isRemoved: boolean;
}

export interface Card {
  uuid: string;
  kind: number;
  isFree: boolean;
}

/** What a placement took, until a node figure that includes it arrives. */
export interface Hold extends Amounts {
  job: PendingJob;
  nodeId: string;
  gpuUuids: string[];
  /** Written: the next figure of the node includes it. */
  isConfirmed: boolean;
  /** The job was removed while the write was under way: a revert does not queue it again. */
  isJobRemoved: boolean;
}

/** What jobs of one requirement shape share: need, line, and what is known about where they fit. */
export interface Shape {
  key: string;
  need: Need;
  queue: JobQueue;
  /** By class index; null where no node of the class can ever fit. */
  matches: (ClassMatch | null)[];
  /** The classes that match, in groups of equal preference, best first. */
  groups: { rank: number; matches: ClassMatch[] }[];
  /** Whether a kind of card is the model asked for, as far as it was asked. */
  isModelByKind: Map<GpuKind, boolean>;
  /** By class index, made when a reason is first asked for. */
  views: ClassView[];
  /**
   * null: any node may fit. Else the shape was found to fit nowhere, and only these nodes gained since then:
   * no other needs a look.
   */
  candidates: Set<NodeEntry> | null;
}

/** The first thing that keeps a shape off a node; `*_busy` and `reserved` pass with time. */
export type Exclusion =
  | 'unavailable'
  | 'isolation'
  | 'region'
  | 'no_gpu'
  | 'gpu_model'
  | 'gpu_registry'
  | 'vram'
  | 'gpu_count'
  | 'cpu'
  | 'ram'
  | 'storage'
  | 'gpu_busy'
  | 'cpu_busy'
  | 'ram_busy'
  | 'storage_busy'
  | 'reserved';

/** A class as the reason for waiting sees it; lists are indexes of kinds. */
export interface ClassView {
  hardware: HardwareClass;
  /** What bars all its nodes, empty or not. */
  barrier: 'isolation' | 'region' | 'no_gpu' | 'gpu_model' | 'gpu_registry' | 'vram' | null;
  /** Of the model asked for. */
  models: readonly number[];
  /** With the VRAM asked for. */
  large: readonly number[];
  /** Both. */
  kinds: readonly number[];
}

export interface ClassMatch {
  hardware: HardwareClass;
  /** Indexes of the kinds a job may get, least VRAM first. */
  kinds: number[];
  rank: number;
}

/** A node whose capacity waits for one job. */
export interface Reservation {
  job: PendingJob;
  shape: Shape;
  entry: NodeEntry;
}
