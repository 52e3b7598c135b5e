// The earliest event first: a binary heap over time and order.

/** What happens later: a message that arrives, a timer, a statement that reaches the database, a fault. */
export interface WorldEvent {
  atMs: number;
  /** Chosen by the seed: the order among events of one moment. */
  order: number;
  /** Whose event it is; a dead one's never happens, a paused one's waits. */
  process: EventOwner | null;
  what: string;
  run: () => void | Promise<void>;
  isCancelled: boolean;
}

export interface EventOwner {
  readonly name: string;
  readonly isAlive: boolean;
  readonly isPaused: boolean;
  /** Takes an event that came while it is paused. */
  hold(event: WorldEvent): void;
}

export class EventHeap {
  readonly #events: WorldEvent[] = [];

  push(event: WorldEvent): void {
    const events = this.#events;
    let index = events.length;
    events.push(event);
    while (index > 0) {
      const parentIndex = (index - 1) >> 1;
      const parent = events[parentIndex];
      if (parent === undefined || !isBefore(event, parent)) break;
      events[index] = parent;
      index = parentIndex;
    }
    events[index] = event;
  }

  pop(): WorldEvent | undefined {
    const events = this.#events;
    const first = events[0];
    const last = events.pop();
    if (first === undefined || last === undefined || events.length === 0) return first;
    let index = 0;
    for (;;) {
      const childIndex = smallerChild(events, index);
      const child = events[childIndex];
      if (child === undefined || !isBefore(child, last)) break;
      events[index] = child;
      index = childIndex;
    }
    events[index] = last;
    return first;
  }
}

function isBefore(a: WorldEvent, b: WorldEvent): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}

function smallerChild(events: readonly WorldEvent[], index: number): number {
  const left = events[2 * index + 1];
  const right = events[2 * index + 2];
  if (left === undefined || right === undefined) return 2 * index + 1;
  return isBefore(right, left) ? 2 * index + 2 : 2 * index + 1;
}
