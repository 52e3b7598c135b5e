// The place in an engine's log up to which bytes of one stream are counted, and how to find it again.
//
// A position is `<timestamp>/<count>`: the latest timestamp seen so far, and how many entries of the stream were
// counted from the first one that carries it. While the clock goes forward these are the entries with that timestamp;
// after a step back the entries that follow are counted on, so that the file's order decides and not the clock.

export interface LogPosition {
  /** RFC 3339, nanoseconds, fixed width, UTC: order as text is order in time. */
  timestamp: string;
  count: number;
}

export function formatPosition({ timestamp, count }: LogPosition): string {
  return `${timestamp}/${count}`;
}

/** null for null and for what no agent wrote. */
export function parsePosition(text: string | null): LogPosition | null {
  const match = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z)\/(\d+)$/.exec(text ?? '');
  return match?.[1] === undefined ? null : { timestamp: match[1], count: Number(match[2]) };
}

export function advance(position: LogPosition | null, timestamp: string): LogPosition {
  if (position === null || timestamp > position.timestamp) return { timestamp, count: 1 };
  return { timestamp: position.timestamp, count: position.count + 1 };
}

/** A timestamp `byMs` earlier, to start reading from. */
export function earlier(timestamp: string, byMs: number): string {
  const atMs = Math.max(0, Date.parse(`${timestamp.slice(0, 19)}Z`) - byMs);
  return `${new Date(atMs).toISOString().slice(0, 19)}.${timestamp.slice(20, 29)}Z`;
}

/** Tells of each entry, in the file's order, whether it was counted before. */
export class CountedEntries {
  readonly #position: LogPosition | null;
  #left: number;
  #isFound = false;
  #isPast: boolean;
  /** The place itself is gone: bytes between it and the first entry may be lost. */
  hasGap = false;

  constructor(position: LogPosition | null) {
    this.#position = position;
    this.#left = position?.count ?? 0;
    this.#isPast = position === null;
  }

  wasCounted(timestamp: string): boolean {
    if (this.#isPast || this.#position === null) return false;
    if (!this.#isFound) {
      if (timestamp < this.#position.timestamp) return true;
      if (timestamp > this.#position.timestamp) {
        this.hasGap = true;
        this.#isPast = true;
        return false;
      }
      this.#isFound = true;
    }
    this.#left -= 1;
    this.#isPast = this.#left <= 0;
    return true;
  }
}
