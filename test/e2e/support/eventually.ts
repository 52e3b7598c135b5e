// Waits for what other processes will bring about.
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';

/** The first result of `attempt` that is neither false nor absent; fails after `limitMs`. */
export async function eventually<T>(
  what: string,
  attempt: () => Promise<T | false | null | undefined>,
  limitMs = 30_000,
): Promise<T> {
  const giveUpAt = performance.now() + limitMs;
  for (;;) {
    const result = await attempt();
    if (result !== false && result !== null && result !== undefined) return result;
    if (performance.now() > giveUpAt) assert.fail(`Waited ${limitMs} ms in vain for ${what}`);
    await sleep(40);
  }
}
