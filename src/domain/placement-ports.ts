// Public ports as placement counts them: those anybody may get, those that rest for the account that had them, and promises.

/** What the gateway has free; `promised` to runs that were placed and do not run yet. Counts by account id. */
export interface FreePorts {
  rested: number;
  restingByAccount: ReadonlyMap<string, number>;
  promisedByAccount: ReadonlyMap<string, number>;
}

export class PublicPorts {
  #rested: number;
  readonly #resting: Map<string, number>;

  constructor({ rested, restingByAccount, promisedByAccount }: FreePorts) {
    this.#rested = rested;
    this.#resting = new Map(restingByAccount);
    for (const [accountId, count] of promisedByAccount) this.take(accountId, count);
  }

  availableTo(accountId: string): number {
    return Math.max(0, this.#rested) + (this.#resting.get(accountId) ?? 0);
  }

  /** An account's own resting ports first: nobody else could have them. */
  take(accountId: string, count: number): void {
    const own = this.#resting.get(accountId) ?? 0;
    const fromOwn = Math.min(own, count);
    if (fromOwn > 0) this.#resting.set(accountId, own - fromOwn);
    this.#rested -= count - fromOwn;
  }
}
