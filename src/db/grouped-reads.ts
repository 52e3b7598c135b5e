// Reads that are asked for together go as one statement: under load most of a small read's cost is its round trip.
import { DatabaseUnavailable } from './database.ts';

/** Answers `read` for each key; keys asked for in the same tick, or while earlier ones are read, share a call. */
export function groupReads<Key, Value>(
  read: (keys: Key[]) => Promise<Value[]>,
  options: { maxSize: number; maxUnderWay: number },
): (key: Key) => Promise<Value> {
  let waiting: Waiting<Key, Value>[] = [];
  let underWay = 0;
  let isScheduled = false;

  function flush() {
    isScheduled = false;
    while (underWay < options.maxUnderWay && waiting.length > 0) {
      const group = waiting.slice(0, options.maxSize);
      waiting = waiting.slice(options.maxSize);
      underWay += 1;
      void settle(group, read, refuseWaiting).finally(() => {
        underWay -= 1;
        flush();
      });
    }
  }

  /** Who came while the database was waited for has waited too: another wait would be a second one. */
  function refuseWaiting(error: unknown) {
    for (const entry of waiting) entry.reject(error);
    waiting = [];
  }

  return (key) =>
    new Promise((resolve, reject) => {
      waiting.push({ key, resolve, reject });
      if (isScheduled) return;
      isScheduled = true;
      // After the I/O of this tick, so that requests read together go together.
      setImmediate(flush);
    });
}

interface Waiting<Key, Value> {
  key: Key;
  resolve: (value: Value) => void;
  reject: (error: unknown) => void;
}

/** A group that fails is read again one by one, so that nobody fails for a neighbour. */
async function settle<Key, Value>(
  group: Waiting<Key, Value>[],
  read: (keys: Key[]) => Promise<Value[]>,
  refuseWaiting: (error: unknown) => void,
): Promise<void> {
  try {
    const values = await read(group.map((entry) => entry.key));
    for (const [index, entry] of group.entries()) entry.resolve(values[index] as Value);
  } catch (error) {
    if (error instanceof DatabaseUnavailable) refuseWaiting(error);
    if (group.length === 1 || error instanceof DatabaseUnavailable)
      for (const entry of group) entry.reject(error);
    else for (const entry of group) await settle([entry], read, refuseWaiting);
  }
}
