// How much disk a run may fill: its writable layer and its volumes together.
import { fairShare, type NodeSize, type Reservation } from './container-limits.ts';

/** Less than this no image can be worked with; a node with less storage gives all it has. */
const floorBytes = 1e9;

/** The largest of reservation, fair share of the node's storage and a floor; at most the whole. */
export function storageLimitBytes(
  reservation: Reservation & { storageBytes: number },
  node: NodeSize & { storageBytes: number },
): number {
  const shareBytes = Math.floor(node.storageBytes * fairShare(reservation, node));
  const wantedBytes = Math.max(reservation.storageBytes, shareBytes, floorBytes);
  return Math.max(reservation.storageBytes, Math.min(wantedBytes, node.storageBytes));
}

/** Why a run was stopped, for its owner. */
export function storageSentence(usedBytes: number, limitBytes: number): string {
  return `The job run filled ${gb(usedBytes)} GB of disk and may fill ${gb(limitBytes)} GB on this node; write less, or ask for more with min_storage_gb.`;
}

function gb(bytes: number): string {
  return (bytes / 1e9).toFixed(bytes < 1e9 ? 3 : 1);
}
