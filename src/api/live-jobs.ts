// Remembers how many jobs an account had when last counted, so that far from the cap nobody counts.

export interface LiveJobs {
  /** True when the account may have reached the cap since it was last counted. */
  mayBeFull(accountId: string): boolean;
  note(accountId: string, count: number): void;
}

/** Every call of mayBeFull stands for one more job; other replicas submit too, hence the fraction. */
const trustedFraction = 0.25;

export function createLiveJobs(maxLiveJobs: number): LiveJobs {
  const room = new Map<string, number>();
  return {
    mayBeFull(accountId) {
      const left = room.get(accountId) ?? 0;
      if (left <= 0) return true;
      room.set(accountId, left - 1);
      return false;
    },
    note: (accountId, count) => {
      room.set(accountId, Math.floor((maxLiveJobs - count) * trustedFraction));
    },
  };
}
