// One follower of events: first what it missed, from the database, then what the replica's feed brings, without a hole between.
import type { Database } from '../db/database.ts';
import { currentEventPosition, type EventBatch, readEvents, readJobEvents } from '../db/events.ts';
import { type EventPosition, formatPosition, isVisible, parseSnapshot } from '../domain/event-position.ts';
import { type EventFeed, type EventListener, type FeedItem, feedItems } from './event-feed.ts';
import type { EventStream } from './event-stream.ts';

export interface FollowedEvents {
  accountId: string;
  /** null: of the whole account. */
  jobId: string | null;
  /** null: from now on. */
  from: EventPosition | null;
}

const batchSize = 500;

/** Until the stream is closed. One that reads slowly goes back to reading from the database, at its own pace. */
export async function followEvents(
  deps: { database: Database; feed: EventFeed },
  stream: EventStream,
  what: FollowedEvents,
): Promise<void> {
  let position = what.from ?? (await currentEventPosition(deps.database));
  while (!stream.closed.aborted) {
    const near = await catchUp(deps.database, stream, { ...what, from: position });
    position = await followLive(deps, stream, { ...what, from: near });
    await stream.drained();
  }
}

/** What the feed brings, until the stream is closed or full; answers how far it got. */
async function followLive(
  { database, feed }: { database: Database; feed: EventFeed },
  stream: EventStream,
  what: FollowedEvents & { from: EventPosition },
): Promise<EventPosition> {
  const early: FeedItem[] = [];
  let listener: EventListener = (items) => {
    early.push(...items);
  };
  const unfollow = await feed.follow(what.accountId, (items) => listener(items));
  try {
    let position = await catchUp(database, stream, what);
    const seen = parseSnapshot(position.since);
    if (seen === null) throw new Error(`PostgreSQL told a snapshot that is none: ${position.since}`);
    const full = Promise.withResolvers<void>();
    let isBehind = false;
    listener = (items) => {
      for (const item of items) {
        isBehind ||= stream.isFull;
        if (isBehind) return full.resolve();
        // The feed may be behind: what was sent already is left out.
        if (isVisible(item.event.writtenIn, seen)) continue;
        if (isWanted(item, what)) stream.send({ id: item.id, json: item.json });
        position = item.position;
      }
    };
    listener(early);
    stream.send({ id: formatPosition(position), event: 'ready', json: '{}' });
    await Promise.race([full.promise, ended(stream.closed)]);
    return position;
  } finally {
    unfollow();
  }
}

/** What came after `from`; answers where that ends. */
async function catchUp(
  database: Database,
  stream: EventStream,
  what: FollowedEvents & { from: EventPosition },
): Promise<EventPosition> {
  let position = what.from;
  do {
    const batch = await read(database, what, position);
    if (isOfAnotherTime(position, batch.next))
      stream.send({
        event: 'gap',
        json: '{"reason":"the last id is of another database; read the lists again"}',
      });
    for (const item of feedItems(batch)) {
      if (stream.isFull) await stream.drained();
      if (isWanted(item, what)) stream.send({ id: item.id, json: item.json });
    }
    position = batch.next;
    await stream.drained();
  } while (position.within !== null && !stream.closed.aborted);
  return position;
}

async function read(database: Database, what: FollowedEvents, position: EventPosition): Promise<EventBatch> {
  if (what.jobId !== null) return readJobEvents(database, { jobId: what.jobId, position }, batchSize);
  const [batch] = await readEvents(database, [{ accountId: what.accountId, position }], batchSize);
  if (batch === undefined) throw new Error('The database did not answer a reader of events.');
  return batch;
}

/** A position beyond what the database has reached: it was restored from a dump, and counts anew. */
function isOfAnotherTime(before: EventPosition, after: EventPosition): boolean {
  const [from, to] = [parseSnapshot(before.since), parseSnapshot(after.since)];
  return from !== null && to !== null && to.xmax < from.xmax;
}

function isWanted({ event }: FeedItem, { jobId }: FollowedEvents): boolean {
  return jobId === null || event.jobId === jobId;
}

function ended(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
}
