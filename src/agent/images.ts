// Images of the node: pulled once for all who wait, given only to whom the registry gives them, and removed by age.
//
// INVARIANTS
// - An image that came with credentials is given to a job without them only after the registry gave it to nobody in
//   particular; with credentials the registry is asked each time (docs/adr/0009-cached-private-images.md).
// - A pull lives while somebody waits for it: one stop never ends it for the others, the last one does.
// - An image that a run was given is not removed before its container exists; from then on the engine refuses.
import { type CachedImage, imagesToRemove, mustAskRegistry } from '../domain/image-policy.ts';
import { fullReference } from '../domain/image-reference.ts';
import { type Clock, sleep } from './clock.ts';
import { ImageMemory } from './images-memory.ts';
import { checkRegistry, type RegistryRules } from './images-registries.ts';
import type { AgentLog } from './log.ts';
import { type ImageState, type PullOrder, type PullProgress, type Runtime, RuntimeError } from './runtime.ts';
import type { StateFile } from './state-file.ts';

export interface ImagesOptions {
  runtime: Runtime;
  clock: Clock;
  log: AgentLog;
  stateFile: StateFile;
  registries: RegistryRules;
  /** Most bytes that pulled images may take. */
  capBytes: () => number;
}

export interface AcquireOptions {
  /** Holds the image until `release` of it. */
  runUuid: string;
  /** null: the registry is asked, and has not answered yet. */
  onProgress: (progress: PullProgress | null) => void;
  signal: AbortSignal;
}

const sweepEveryMs = 60 * 60_000;

interface SharedPull {
  abort: AbortController;
  waiters: Set<AcquireOptions>;
  progress: PullProgress | null;
  image: Promise<ImageState>;
}

export class Images {
  readonly #options: ImagesOptions;
  readonly #memory: ImageMemory;
  readonly #pulls = new Map<string, SharedPull>();
  readonly #holds = new Map<string, Set<string>>();
  /** By name or id: who wants the image meanwhile waits, and pulls it again. */
  readonly #removals = new Map<string, Promise<unknown>>();
  #sweeping: Promise<void> | null = null;

  constructor(options: ImagesOptions) {
    this.#options = options;
    this.#memory = new ImageMemory(options.stateFile, (error) =>
      options.log.warn({ reason: String(error) }, 'the record of pulled images could not be written'),
    );
    if (this.#memory.isIncomplete) {
      options.log.warn({}, 'the record of pulled images was unreadable; registries are asked again');
    }
  }

  /** The image on the node, pulled if need be; throws RuntimeError, or the signal's reason when it is aborted. */
  async acquire(order: PullOrder, options: AcquireOptions): Promise<ImageState> {
    const { runtime, clock } = this.#options;
    const reference = fullReference(order.image);
    await this.#removals.get(reference);
    const local = await runtime.inspectImage(reference);
    options.signal.throwIfAborted();
    const memory = this.#memory.get(reference);
    if (local !== null && !mustAskRegistry(local, { hasCredentials: order.credentials !== null, memory })) {
      this.#hold(options.runUuid, local.imageId);
      this.#memory.use(reference, clock.wallMs());
      return local;
    }
    const image = await this.#join(order, options);
    this.#hold(options.runUuid, image.imageId);
    return image;
  }

  /** The run has its container, or will never have one. */
  release(runUuid: string): void {
    this.#holds.delete(runUuid);
  }

  /** Sweeps every hour until the signal: disks grow full and operators remove images without a pull. */
  async watch(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await sleep(this.#options.clock, sweepEveryMs, signal);
      if (!signal.aborted) await this.sweep();
    }
  }

  /** Removes what is over the cap; one at a time. */
  sweep(): Promise<void> {
    this.#sweeping ??= this.#removeOverCap()
      .catch((error: unknown) => this.#options.log.warn({ reason: String(error) }, 'images were not removed'))
      .finally(() => {
        this.#sweeping = null;
      });
    return this.#sweeping;
  }

  #hold(runUuid: string, imageId: string): void {
    const held = this.#holds.get(runUuid) ?? new Set();
    this.#holds.set(runUuid, held.add(imageId));
  }

  /** Waits for a pull of the same image with the same credentials, its own or one under way. */
  async #join(order: PullOrder, options: AcquireOptions): Promise<ImageState> {
    const key = JSON.stringify([fullReference(order.image), order.credentials]);
    const pull = this.#pulls.get(key) ?? this.#begin(key, order);
    pull.waiters.add(options);
    options.onProgress(pull.progress);
    const left = Promise.withResolvers<never>();
    const leave = () => {
      pull.waiters.delete(options);
      if (pull.waiters.size === 0) {
        if (this.#pulls.get(key) === pull) this.#pulls.delete(key);
        pull.abort.abort();
      }
      left.reject(options.signal.reason);
    };
    options.signal.addEventListener('abort', leave);
    try {
      return await Promise.race([pull.image, left.promise]);
    } finally {
      options.signal.removeEventListener('abort', leave);
      pull.waiters.delete(options);
    }
  }

  #begin(key: string, order: PullOrder): SharedPull {
    const abort = new AbortController();
    const pull: SharedPull = {
      abort,
      waiters: new Set(),
      progress: null,
      image: this.#pull(order, {
        signal: abort.signal,
        onProgress: (progress) => {
          pull.progress = progress;
          for (const { onProgress } of pull.waiters) onProgress(progress);
        },
      }),
    };
    this.#pulls.set(key, pull);
    const end = () => {
      if (this.#pulls.get(key) === pull) this.#pulls.delete(key);
      void this.sweep();
    };
    pull.image.then(end, end);
    return pull;
  }

  async #pull(
    order: PullOrder,
    options: { signal: AbortSignal; onProgress: (progress: PullProgress) => void },
  ): Promise<ImageState> {
    const { runtime, registries } = this.#options;
    const reference = fullReference(order.image);
    await checkRegistry(reference, registries);
    const local = await runtime.inspectImage(reference);
    const memory = this.#memory.get(reference);
    const isFree = local !== null && !mustAskRegistry(local, { hasCredentials: false, memory });
    if (order.credentials === null) {
      await runtime.pullImage(order, options);
      return this.#remember(reference, { local, isPrivate: () => false });
    }
    this.#memory.beginPrivatePull(reference);
    let isUntouched = false;
    try {
      await runtime.pullImage(order, options);
      // What was free before stays free: these credentials brought nothing new.
      return await this.#remember(reference, { local, isPrivate: (id) => !(isFree && local.imageId === id) });
    } catch (error) {
      // After an abort or a lost connection the engine may still finish: then the name stays closed.
      isUntouched = error instanceof RuntimeError && error.engineText !== null;
      throw error;
    } finally {
      this.#memory.endPrivatePull(reference, { isUntouched });
    }
  }

  async #remember(
    reference: string,
    { local, isPrivate }: { local: ImageState | null; isPrivate: (imageId: string) => boolean },
  ): Promise<ImageState> {
    const image = await this.#options.runtime.inspectImage(reference);
    if (image === null) {
      throw new RuntimeError(
        'image_not_found',
        `Image "${reference}" was removed from the node while it was pulled; submit the job again.`,
      );
    }
    const { imageId, sizeBytes } = image;
    const wallMs = this.#options.clock.wallMs();
    const wasOurs = this.#memory.isOurs(reference);
    const isSame = local?.imageId === imageId;
    if (local !== null && !isSame && wasOurs) {
      this.#memory.keepUnnamed(reference, { imageId: local.imageId, sizeBytes: local.sizeBytes, wallMs });
    }
    this.#memory.put(reference, {
      imageId,
      isPrivate: isPrivate(imageId),
      isOurs: isSame ? wasOurs : true,
      sizeBytes,
      lastUsedAtMs: wallMs,
    });
    return image;
  }

  async #removeOverCap(): Promise<void> {
    const refused = new Set<string>();
    while (true) {
      const cached = this.#memory.listOurs();
      const needed = new Set([...refused, ...[...this.#holds.values()].flatMap((held) => [...held])]);
      const [key] = imagesToRemove(cached, { capBytes: this.#options.capBytes(), needed });
      const image = cached.find((candidate) => candidate.key === key);
      if (image === undefined) return;
      if (!(await this.#remove(image))) refused.add(image.imageId);
    }
  }

  /** false: a container needs it. */
  async #remove({ key, imageId, sizeBytes }: CachedImage): Promise<boolean> {
    const { runtime, log } = this.#options;
    const removal = runtime.removeImage(key);
    const settled = removal.catch(() => {});
    this.#removals.set(key, settled);
    try {
      if ((await removal) === 'in_use') return false;
      this.#memory.forget(key);
      log.info({ image: key, image_id: imageId, size_bytes: sizeBytes }, 'removed an image over the cap');
      return true;
    } finally {
      if (this.#removals.get(key) === settled) this.#removals.delete(key);
    }
  }
}
