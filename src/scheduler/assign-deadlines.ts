// Assign deadlines of pending jobs, gathered by second, so that a look at the due ones costs nothing while none is.

export class AssignDeadlines {
  readonly #deadlines = new Map<string, number>();
  readonly #bySecond = new Map<number, Set<string>>();
  #dueSecond = 0;

  set(jobId: string, atMs: number): void {
    this.delete(jobId);
    this.#deadlines.set(jobId, atMs);
    const second = secondOf(atMs);
    const ids = this.#bySecond.get(second);
    if (ids === undefined) this.#bySecond.set(second, new Set([jobId]));
    else ids.add(jobId);
    this.#dueSecond = Math.min(this.#dueSecond, second);
  }

  delete(jobId: string): void {
    const atMs = this.#deadlines.get(jobId);
    if (atMs === undefined) return;
    this.#deadlines.delete(jobId);
    const ids = this.#bySecond.get(secondOf(atMs));
    ids?.delete(jobId);
    if (ids?.size === 0) this.#bySecond.delete(secondOf(atMs));
  }

  /** Jobs whose deadline has passed; they stay until deleted. */
  due(nowMs: number): string[] {
    const now = secondOf(nowMs);
    if (this.#dueSecond === 0)
      this.#dueSecond = this.#bySecond.size === 0 ? now : Math.min(...this.#bySecond.keys());
    const due: string[] = [];
    for (let second = this.#dueSecond; second <= now; second += 1) {
      for (const id of this.#bySecond.get(second) ?? []) {
        if ((this.#deadlines.get(id) ?? Number.POSITIVE_INFINITY) <= nowMs) due.push(id);
      }
    }
    // Seconds without jobs left need no second look.
    while (this.#dueSecond < now && !this.#bySecond.has(this.#dueSecond)) this.#dueSecond += 1;
    return due;
  }
}

function secondOf(atMs: number): number {
  return Math.floor(atMs / 1000);
}
