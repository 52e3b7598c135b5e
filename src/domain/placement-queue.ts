// The waiting lines: jobs of one shape in order, and the shapes in the order of their first jobs.
import { compareJobs, type PendingJob } from './placement-model.ts';

/** Jobs in queue order. Append and take from the front are O(1), the rest a binary search and a memory move. */
export class JobQueue {
  #jobs: PendingJob[] = [];
  #start = 0;

  get length(): number {
    return this.#jobs.length - this.#start;
  }

  head(): PendingJob | undefined {
    return this.#jobs[this.#start];
  }

  jobs(): PendingJob[] {
    return this.#jobs.slice(this.#start);
  }

  add(job: PendingJob): void {
    const at = this.#indexFor(job);
    if (at === this.#start && this.#start > 0) {
      this.#start -= 1;
      this.#jobs[this.#start] = job;
    } else if (at === this.#jobs.length) {
      this.#jobs.push(job);
    } else {
      this.#jobs.splice(at, 0, job);
    }
  }

  /** Removes the job that has this one's place in the order. */
  remove(job: PendingJob): boolean {
    const at = this.#indexFor(job);
    if (this.#jobs[at]?.id !== job.id) return false;
    if (at === this.#start) this.#dropHead();
    else this.#jobs.splice(at, 1);
    return true;
  }

  /** Takes over the new form of a job whose place in the order is unchanged. */
  replace(job: PendingJob): void {
    const at = this.#indexFor(job);
    if (this.#jobs[at]?.id === job.id) this.#jobs[at] = job;
  }

  /** How many jobs here go before this one. */
  countBefore(job: PendingJob): number {
    return this.#indexFor(job) - this.#start;
  }

  #dropHead(): void {
    this.#start += 1;
    // Half of the array is spent: moving the rest costs less than what was taken from it.
    if (this.#start > 64 && this.#start * 2 > this.#jobs.length) {
      this.#jobs = this.#jobs.slice(this.#start);
      this.#start = 0;
    }
  }

  #indexFor(job: PendingJob): number {
    let low = this.#start;
    let high = this.#jobs.length;
    const last = this.#jobs[high - 1];
    if (high > low && last !== undefined && compareJobs(last, job) < 0) return high;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const other = this.#jobs[middle];
      if (other !== undefined && compareJobs(other, job) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

export interface Line {
  queue: JobQueue;
}

/** A binary heap of non-empty lines; the one whose first job goes before all others is on top. */
export class LineHeap<T extends Line> {
  readonly #lines: T[] = [];

  get size(): number {
    return this.#lines.length;
  }

  top(): T | undefined {
    return this.#lines[0];
  }

  push(line: T): void {
    this.#lines.push(line);
    this.#siftUp(this.#lines.length - 1);
  }

  pop(): void {
    const last = this.#lines.pop();
    if (last === undefined || this.#lines.length === 0) return;
    this.#lines[0] = last;
    this.siftTop();
  }

  /** After the top line's first job left: restores the order. */
  siftTop(): void {
    let at = 0;
    for (;;) {
      const child = this.#before(2 * at + 2, 2 * at + 1) ? 2 * at + 2 : 2 * at + 1;
      if (!this.#before(child, at)) return;
      this.#swap(child, at);
      at = child;
    }
  }

  #siftUp(from: number): void {
    for (let at = from; at > 0; ) {
      const parent = (at - 1) >>> 1;
      if (!this.#before(at, parent)) return;
      this.#swap(at, parent);
      at = parent;
    }
  }

  #before(a: number, b: number): boolean {
    const first = this.#lines[a]?.queue.head();
    const second = this.#lines[b]?.queue.head();
    if (first === undefined) return false;
    return second === undefined || compareJobs(first, second) < 0;
  }

  #swap(a: number, b: number): void {
    const first = this.#lines[a];
    const second = this.#lines[b];
    if (first === undefined || second === undefined) return;
    this.#lines[a] = second;
    this.#lines[b] = first;
  }
}
