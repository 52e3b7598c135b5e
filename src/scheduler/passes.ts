// What the API may know of the scheduler's passes: whether one has looked at an account's submits, and places in line.

/** A client that polls right after its submit waits at most this long for a pass. */
const patienceMs = 200;

export class Passes {
  readonly #submittedAtMs = new Map<string, number>();
  readonly #waiting = new Set<() => void>();
  readonly #now: () => number;

  constructor(monotonicNow: () => number) {
    this.#now = monotonicNow;
  }

  noteSubmit(accountId: string): void {
    this.#submittedAtMs.set(accountId, this.#now());
  }

  /** A pass that began at `startedAtMs` is through: it has seen every submit before. */
  complete(startedAtMs: number): void {
    for (const [accountId, atMs] of this.#submittedAtMs) {
      if (atMs < startedAtMs) this.#submittedAtMs.delete(accountId);
    }
    for (const wake of this.#waiting) wake();
    this.#waiting.clear();
  }

  async awaitPass(accountId: string): Promise<void> {
    for (;;) {
      const submittedAtMs = this.#submittedAtMs.get(accountId);
      if (submittedAtMs === undefined) return;
      const leftMs = submittedAtMs + patienceMs - this.#now();
      if (leftMs <= 0) {
        this.#submittedAtMs.delete(accountId);
        return;
      }
      await this.#nextPass(leftMs);
    }
  }

  #nextPass(timeoutMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(wake, timeoutMs);
      const waiting = this.#waiting;
      function wake() {
        clearTimeout(timer);
        waiting.delete(wake);
        resolve();
      }
      waiting.add(wake);
    });
  }
}
