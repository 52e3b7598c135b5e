// Whether something followed has changed since one looked last: many messages of its stream are one reason to look again.
import type { StreamMessage } from './event-stream.ts';

export interface Changes {
  /** Resolves when there was a change since it resolved last, or `stop` aborts; rejects when the stream is lost for good. */
  next(stop: AbortSignal): Promise<void>;
  close(): void;
}

/** `follow` is read from now on, until it ends, fails or is closed by `close`. */
export function changesOf(follow: (closing: AbortSignal) => AsyncIterable<StreamMessage>): Changes {
  const closing = new AbortController();
  let isChanged = false;
  let failure: { error: unknown } | undefined;
  let wake = () => {};
  const read = async () => {
    for await (const _message of follow(closing.signal)) {
      isChanged = true;
      wake();
    }
  };
  read().catch((error) => {
    failure = { error };
    wake();
  });
  return {
    async next(stop) {
      if (!isChanged && failure === undefined && !stop.aborted) {
        const { promise, resolve } = Promise.withResolvers<void>();
        const give = () => resolve();
        wake = give;
        stop.addEventListener('abort', give);
        await promise;
        stop.removeEventListener('abort', give);
      }
      if (failure !== undefined && !stop.aborted) throw failure.error;
      if (!stop.aborted) isChanged = false;
    },
    close: () => closing.abort(),
  };
}
