// Gathers what arrives while the last batch is written, so that many senders share one transaction.

export interface Batcher<T> {
  add(item: T): void;
  /** Resolves when everything added so far was handed over. */
  drain(): Promise<void>;
}

/** Batches never overlap; `write` handles its own failures, a throw is passed to `onError` and the batch is dropped. */
export function createBatcher<T>(options: {
  maxSize: number;
  write: (batch: T[]) => Promise<void>;
  onError: (error: unknown, batch: T[]) => void;
}): Batcher<T> {
  let waiting: T[] = [];
  let running: Promise<void> | undefined;

  async function run() {
    while (waiting.length > 0) {
      const batch = waiting.slice(0, options.maxSize);
      waiting = waiting.slice(options.maxSize);
      await options.write(batch).catch((error) => options.onError(error, batch));
    }
    running = undefined;
  }

  return {
    add(item) {
      waiting.push(item);
      // After this tick's messages, so that they go together.
      running ??= new Promise<void>((resolve) => setImmediate(resolve)).then(run);
    },
    drain: async () => running,
  };
}
