// When a delivery that failed is tried again, and when it is given up.

const firstPauseMs = 5_000;
const maxPauseMs = 3_600_000;
/** From the first attempt. */
export const giveUpAfterMs = 24 * 3_600_000;

/**
 * The pause after the `attempts`th attempt (from 1): doubling to an hour, each up to a fifth longer by `random` (0 to 1), so
 * that what failed together does not come back together. null: given up, since a day has passed since the first attempt.
 */
export function retryPauseMs(
  attempts: number,
  { sinceFirstMs, random }: { sinceFirstMs: number; random: number },
): number | null {
  if (sinceFirstMs >= giveUpAfterMs) return null;
  const pauseMs = Math.min(maxPauseMs, firstPauseMs * 2 ** Math.min(30, attempts - 1));
  return Math.round(pauseMs * (1 + random / 5));
}
