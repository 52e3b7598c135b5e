// Slows down whoever keeps failing to authenticate, by address.

export interface FailureThrottle {
  /** Seconds to wait before the address may try again; 0 when it may now. */
  waitSeconds(address: string): number;
  fail(address: string): void;
}

/** A person with a wrong key stays below it; a guesser does not. */
const maxFailures = 100;
const windowMs = 60_000;
const maxAddresses = 50_000;

export function createFailureThrottle(now: () => number): FailureThrottle {
  const failures = new Map<string, { count: number; sinceMs: number }>();
  const current = (address: string) => {
    const entry = failures.get(address);
    if (entry !== undefined && now() - entry.sinceMs < windowMs) return entry;
    failures.delete(address);
    return undefined;
  };
  return {
    waitSeconds(address) {
      const entry = current(address);
      if (entry === undefined || entry.count < maxFailures) return 0;
      return Math.max(1, Math.ceil((entry.sinceMs + windowMs - now()) / 1000));
    },
    fail(address) {
      const entry = current(address);
      if (entry !== undefined) entry.count += 1;
      else {
        if (failures.size >= maxAddresses) failures.clear();
        failures.set(address, { count: 1, sinceMs: now() });
      }
    },
  };
}
