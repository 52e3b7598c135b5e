// The simulated world: one queue of events, one clock, one step at a time, and a trace whose hash tells two runs apart.
import { createHash } from 'node:crypto';
import { EventHeap, type WorldEvent } from './event-heap.ts';
import { Random } from './random.ts';

/** Something that must never be; it ends the seed. */
export class Violation extends Error {
  override name = 'Violation';
  readonly invariant: string;

  constructor(invariant: string, message: string) {
    super(`${invariant}: ${message}`);
    this.invariant = invariant;
  }
}

/** Simulated times are epoch milliseconds from here on. */
export const epochMs = Date.UTC(2030, 0, 1);
const keptLines = 400;
/** Turns of the real event loop until everything that an event set off has come to rest. */
const restTurns = 3;

export class World {
  /** Streams of their own, so that one more draw of one kind does not turn over all the others. */
  readonly random: Record<'order' | 'latency' | 'fault' | 'work' | 'id', Random>;
  nowMs = 0;
  stepCount = 0;
  readonly recent: string[] = [];
  readonly counts = new Map<string, number>();
  /** Called after each step. */
  check: () => void = () => {};
  readonly #events = new EventHeap();
  readonly #hash = createHash('sha256');
  #violation: Violation | null = null;

  readonly #ignored: readonly string[];

  constructor(seed: number, ignored: readonly string[] = []) {
    this.#ignored = ignored;
    this.random = {
      order: new Random(seed, 1),
      latency: new Random(seed, 2),
      fault: new Random(seed, 3),
      work: new Random(seed, 4),
      id: new Random(seed, 5),
    };
  }

  /** `delayMs` from now; the returned function takes it back. */
  later(delayMs: number, event: Pick<WorldEvent, 'process' | 'what' | 'run'>): () => void {
    const full = {
      ...event,
      atMs: this.nowMs + Math.max(0, delayMs),
      order: this.random.order.next(),
      isCancelled: false,
    };
    this.#events.push(full);
    return () => {
      full.isCancelled = true;
    };
  }

  /** Events of a process that was paused: they happen now, in the order they came. */
  release(events: readonly WorldEvent[]): void {
    for (const [index, event] of events.entries()) {
      event.atMs = this.nowMs;
      event.order = index / events.length;
      this.#events.push(event);
    }
  }

  /** One event and all that it sets off; false when nothing is left. */
  async step(): Promise<boolean> {
    for (;;) {
      const event = this.#events.pop();
      if (event === undefined) return false;
      if (event.isCancelled || event.process?.isAlive === false) continue;
      this.nowMs = Math.max(this.nowMs, event.atMs);
      if (event.process?.isPaused === true) {
        event.process.hold(event);
        continue;
      }
      this.stepCount += 1;
      this.note(event.process === null ? event.what : `${event.process.name}: ${event.what}`);
      await event.run();
      for (let turn = 0; turn < restTurns; turn += 1) await new Promise((resolve) => setImmediate(resolve));
      this.check();
      if (this.#violation !== null) throw this.#violation;
      return true;
    }
  }

  /** Found in the middle of an event: the step ends with it. */
  violate(invariant: string, message: string): void {
    if (!this.#ignored.includes(invariant)) this.#violation ??= new Violation(invariant, message);
  }

  /** A line of the trace. */
  note(text: string): void {
    const line = `${this.stepCount} ${this.nowMs.toFixed(3)} ${text}`;
    this.#hash.update(line);
    this.recent.push(line);
    if (this.recent.length > keptLines * 2) this.recent.splice(0, keptLines);
  }

  /** For people only, not part of the hash. */
  remark(text: string): void {
    this.recent.push(`${this.stepCount} ${this.nowMs.toFixed(3)}   # ${text}`);
  }

  count(name: string, by = 1): void {
    this.counts.set(name, (this.counts.get(name) ?? 0) + by);
  }

  traceHash(): string {
    return this.#hash.copy().digest('hex').slice(0, 16);
  }

  newId(): string {
    return this.random.id.uuid(epochMs + this.nowMs);
  }
}
