// Lets long watches (wait, follow) live through a restart of the server.
import type { Edge } from './call.ts';
import { isTransient } from './retry.ts';

const pauseMs = 1000;
/** A restart takes seconds; after this the watcher should hear that the server is gone. */
const maxOutageMs = 60_000;

export type Watch = { edge: Edge; signal?: AbortSignal | undefined };

/** The answer of `call`, which is repeated while the server cannot be reached, for at most a minute. */
export async function throughOutage<T>({ edge, signal }: Watch, call: () => Promise<T>): Promise<T> {
  const startMs = edge.nowMs();
  for (;;) {
    try {
      return await call();
    } catch (error) {
      if (!isTransient(error) || edge.nowMs() - startMs >= maxOutageMs) throw error;
    }
    await edge.sleep(pauseMs, signal);
  }
}
