// What the agent remembers of images it pulled: whose they are, how large, when last used. Survives its restart.
import type { CachedImage, PullMemory } from '../domain/image-policy.ts';
import type { StateFile } from './state-file.ts';

/** One name, or the id of an image that lost its name to a newer one. */
interface RememberedImage extends PullMemory {
  /** It was not there before we pulled it: it counts against the cap and may be removed. */
  isOurs: boolean;
  sizeBytes: number;
  lastUsedAtMs: number;
}

/** A pull with credentials under way, or several of one name. */
interface OpenPull {
  count: number;
  before: RememberedImage | undefined;
  /** One of them may have changed what stands under the name. */
  hasChanged: boolean;
}

interface Stored {
  version: 1;
  /** An earlier file could not be read: what is not in this one is treated as private. */
  is_incomplete: boolean;
  images: Record<string, RememberedImage>;
}

/** Uses closer together than this are one: each new one costs a write to the disk. */
const useResolutionMs = 60_000;
const closed: PullMemory = { imageId: null, isPrivate: true };

export class ImageMemory {
  readonly #file: StateFile;
  readonly #onUnwritten: (error: unknown) => void;
  readonly #images: Map<string, RememberedImage>;
  readonly #openPulls = new Map<string, OpenPull>();
  /** The file was there and could not be read. */
  readonly isIncomplete: boolean;

  /** `onUnwritten`: something is known here that the file does not hold; nothing that opens an image to strangers. */
  constructor(file: StateFile, onUnwritten: (error: unknown) => void) {
    this.#file = file;
    this.#onUnwritten = onUnwritten;
    const reading = file.read();
    const stored =
      reading === null ? null : reading === 'unreadable' ? 'unreadable' : toStored(reading.content);
    this.isIncomplete = stored === 'unreadable' || (stored?.is_incomplete ?? false);
    this.#images = new Map(stored === null || stored === 'unreadable' ? [] : Object.entries(stored.images));
  }

  get(reference: string): PullMemory | null {
    return this.#images.get(reference) ?? (this.isIncomplete ? closed : null);
  }

  isOurs(reference: string): boolean {
    return this.#images.get(reference)?.isOurs ?? false;
  }

  use(reference: string, wallMs: number): void {
    const image = this.#images.get(reference);
    if (image === undefined || wallMs - image.lastUsedAtMs < useResolutionMs) return;
    image.lastUsedAtMs = wallMs;
    this.#keep();
  }

  /** Written before the pull begins, or there is none: an agent that is killed in it comes back to a name that is closed. */
  beginPrivatePull(reference: string): void {
    const open = this.#openPulls.get(reference);
    if (open !== undefined) {
      open.count += 1;
      return;
    }
    const before = this.#images.get(reference);
    this.#openPulls.set(reference, { count: 1, before, hasChanged: false });
    const { isOurs = false, sizeBytes = 0, lastUsedAtMs = 0 } = before ?? {};
    this.#images.set(reference, { ...closed, isOurs, sizeBytes, lastUsedAtMs });
    this.#write();
  }

  /** `isUntouched`: the engine said that it left the name as it was. */
  endPrivatePull(reference: string, { isUntouched }: { isUntouched: boolean }): void {
    const open = this.#openPulls.get(reference);
    if (open === undefined) return;
    open.count -= 1;
    open.hasChanged ||= !isUntouched;
    if (open.count > 0) return;
    this.#openPulls.delete(reference);
    if (open.hasChanged) return;
    if (open.before === undefined) this.#images.delete(reference);
    else this.#images.set(reference, open.before);
    this.#keep();
  }

  put(key: string, image: RememberedImage & { imageId: string }): void {
    this.#images.set(key, image);
    this.#keep();
  }

  /** The name moved on; what stood under it is kept in mind by its id until it can be removed. */
  keepUnnamed(reference: string, image: { imageId: string; sizeBytes: number; wallMs: number }): void {
    const { imageId, sizeBytes, wallMs } = image;
    const isPrivate = this.#images.get(reference)?.isPrivate ?? true;
    this.#images.set(imageId, { imageId, isPrivate, isOurs: true, sizeBytes, lastUsedAtMs: wallMs });
  }

  forget(key: string): void {
    if (this.#images.delete(key)) this.#keep();
  }

  /** Those that may be removed. */
  listOurs(): CachedImage[] {
    return [...this.#images].flatMap(([key, { imageId, isOurs, sizeBytes, lastUsedAtMs }]) =>
      isOurs && imageId !== null ? [{ key, imageId, sizeBytes, lastUsedAtMs }] : [],
    );
  }

  /** A full disk must not cost a run its start, or keep it from its end: the next write holds all of it. */
  #keep(): void {
    try {
      this.#write();
    } catch (error) {
      this.#onUnwritten(error);
    }
  }

  #write(): void {
    const stored: Stored = {
      version: 1,
      is_incomplete: this.isIncomplete,
      images: Object.fromEntries(this.#images),
    };
    this.#file.write(stored);
  }
}

function toStored(content: unknown): Stored | 'unreadable' {
  const { version, images } = (content ?? {}) as Partial<Stored>;
  return version === 1 && typeof images === 'object' ? (content as Stored) : 'unreadable';
}
