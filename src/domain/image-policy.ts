// The rules of images on a node: when one that is there may be used unasked, and which to remove first.

/** What is known of an image that stands under the asked name on the node. */
export interface LocalImage {
  imageId: string;
  /** It carries a registry's digest; an imported one does not. */
  isFromRegistry: boolean;
}

/** What the node remembers of a name that it pulled. `imageId` null: a pull is or was under way. */
export interface PullMemory {
  imageId: string | null;
  isPrivate: boolean;
}

/**
 * Whether the registry must be asked before a job may have the image. With credentials always: only the registry knows what
 * they are worth. Without: when the image is not there, or came with somebody's credentials.
 */
export function mustAskRegistry(
  local: LocalImage | null,
  { hasCredentials, memory }: { hasCredentials: boolean; memory: PullMemory | null },
): boolean {
  if (local === null || hasCredentials) return true;
  if (!local.isFromRegistry || memory === null) return false;
  // The operator may have put another image under the name since.
  const isTheSame = memory.imageId === null || memory.imageId === local.imageId;
  return memory.isPrivate && isTheSame;
}

export interface CachedImage {
  /** What removal names: a reference, or the id of an image that lost its name. */
  key: string;
  imageId: string;
  sizeBytes: number;
  lastUsedAtMs: number;
}

/** Least recently used first, until the rest fits below the cap; images in `needed` stay whatever their size. */
export function imagesToRemove(
  cached: readonly CachedImage[],
  { capBytes, needed }: { capBytes: number; needed: ReadonlySet<string> },
): string[] {
  const sizes = new Map(cached.map(({ imageId, sizeBytes }) => [imageId, sizeBytes]));
  let totalBytes = [...sizes.values()].reduce((sum, bytes) => sum + bytes, 0);
  const names = Map.groupBy(cached, ({ imageId }) => imageId);
  const oldestFirst = [...names]
    .map(([imageId, images]) => ({
      imageId,
      keys: images.map(({ key }) => key),
      lastUsedAtMs: Math.max(...images.map((image) => image.lastUsedAtMs)),
    }))
    .filter(({ imageId }) => !needed.has(imageId))
    .sort((a, b) => a.lastUsedAtMs - b.lastUsedAtMs);
  const removed: string[] = [];
  for (const { imageId, keys } of oldestFirst) {
    if (totalBytes <= capBytes) break;
    removed.push(...keys);
    totalBytes -= sizes.get(imageId) ?? 0;
  }
  return removed;
}
