// What is new for the accounts that somebody here follows: one reader of the database, woken by hints, for all of them.
import { setTimeout as sleep } from 'node:timers/promises';
import type { Database } from '../db/database.ts';
import { currentEventPosition, type EventBatch, type EventRecord, readEvents } from '../db/events.ts';
import { type Hints, tellsOfEvents } from '../db/hints.ts';
import { type EventPosition, formatPosition } from '../domain/event-position.ts';
import { eventView } from '../protocol/event-view.ts';

/** An event as every follower gets it: written once for all of them. */
export interface FeedItem {
  event: EventRecord;
  /** Where its reader stands after it. */
  position: EventPosition;
  /** The same as text. */
  id: string;
  json: string;
}

export type EventListener = (items: readonly FeedItem[]) => void;

interface Followed {
  position: EventPosition;
  listeners: Set<EventListener>;
}

const batchSize = 500;
/** Reads begin at least this far apart: one then serves many changes. */
const gapMs = 10;
/** Without hints. */
const safetyMs = 2_000;
const afterFailureMs = 1_000;

export class EventFeed {
  readonly #database: Database;
  readonly #onError: (error: unknown) => void;
  readonly #followed = new Map<string, Followed>();
  #isReading = false;
  #isPoked = false;
  #wake: (() => void) | undefined;

  constructor(deps: { database: Database; hints: Hints; onError: (error: unknown) => void }) {
    this.#database = deps.database;
    this.#onError = deps.onError;
    deps.hints.subscribe((hint) => {
      if (tellsOfEvents(hint)) this.#poke();
    });
  }

  /** The listener hears of all that is committed after the promise has resolved, and perhaps of a little before. */
  async follow(accountId: string, listener: EventListener): Promise<() => void> {
    const fresh = {
      position: await currentEventPosition(this.#database),
      listeners: new Set<EventListener>(),
    };
    const followed = this.#followed.get(accountId) ?? fresh;
    this.#followed.set(accountId, followed);
    const { listeners } = followed;
    listeners.add(listener);
    if (!this.#isReading) void this.#read();
    return () => {
      listeners.delete(listener);
      if (listeners.size > 0 || this.#followed.get(accountId)?.listeners !== listeners) return;
      this.#followed.delete(accountId);
      this.#poke();
    };
  }

  async #read(): Promise<void> {
    this.#isReading = true;
    while (this.#followed.size > 0) {
      this.#isPoked = false;
      const isWhole = await this.#readOnce().catch(async (error) => {
        this.#onError(error);
        await sleep(afterFailureMs);
        return false;
      });
      await sleep(gapMs);
      if (isWhole && !this.#isPoked && this.#followed.size > 0) await this.#rest();
    }
    this.#isReading = false;
  }

  /** false: there is more. */
  async #readOnce(): Promise<boolean> {
    const accounts = [...this.#followed];
    const readers = accounts.map(([accountId, { position }]) => ({ accountId, position }));
    const batches = await readEvents(this.#database, readers, batchSize);
    accounts.forEach(([, followed], at) => {
      const batch = batches[at];
      if (batch === undefined) return;
      followed.position = batch.next;
      if (batch.events.length === 0) return;
      const items = feedItems(batch);
      for (const listener of followed.listeners) listener(items);
    });
    return batches.every((batch) => batch.next.within === null);
  }

  #poke(): void {
    this.#isPoked = true;
    this.#wake?.();
  }

  async #rest(): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, safetyMs);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#wake = undefined;
  }
}

export function feedItems({ events, positions, next }: EventBatch): FeedItem[] {
  return events.map((event, at) => {
    const position = positions[at] ?? next;
    return { event, position, id: formatPosition(position), json: JSON.stringify(eventView(event)) };
  });
}
