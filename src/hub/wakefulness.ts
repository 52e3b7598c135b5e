// Whether this process ran all the time: one that was stopped has missed that its agents went elsewhere.

export class Wakefulness {
  readonly #now: () => number;
  readonly #limitMs: number;
  #awakeAtMs: number;

  /** `limitMs`: a longer time without a sign of life is sleep. */
  constructor(monotonicNow: () => number, limitMs: number) {
    this.#now = monotonicNow;
    this.#limitMs = limitMs;
    this.#awakeAtMs = monotonicNow();
  }

  /** A sign of life; answers how long this process slept before it, or null when it did not. */
  note(): number | null {
    const nowMs = this.#now();
    const sleptMs = nowMs - this.#awakeAtMs;
    this.#awakeAtMs = nowMs;
    return sleptMs < this.#limitMs ? null : sleptMs;
  }
}
