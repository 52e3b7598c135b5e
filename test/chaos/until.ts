// Waits for what other processes will bring about.
import { setTimeout as sleep } from 'node:timers/promises';

const defaultLimitMs = 60_000;

/** The first result that is neither false nor null; an attempt that throws counts as none. */
export async function until<T>(
  what: string,
  attempt: () => Promise<T | false | null>,
  limitMs = defaultLimitMs,
): Promise<T> {
  const giveUpAt = performance.now() + limitMs;
  let lastError: unknown;
  for (;;) {
    try {
      const result = await attempt();
      if (result !== false && result !== null) return result;
    } catch (error) {
      lastError = error;
    }
    if (performance.now() > giveUpAt)
      throw new Error(`Waited ${limitMs} ms in vain for ${what}`, { cause: lastError });
    await sleep(100);
  }
}
