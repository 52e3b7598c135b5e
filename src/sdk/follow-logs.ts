// Follows the log of a run to its last byte.
import type { JobRunLogs } from '../protocol/job-run.ts';
import type { StreamMessage } from './event-stream.ts';

export type FollowOptions = {
  /** Byte to begin at; 0 when absent. */
  offset?: number;
  signal?: AbortSignal;
};

/** Where following ended; not complete means that the run ended and its last bytes never arrived. */
export type Followed = { nextOffset: number; isComplete: boolean };

/** Calls `onChunk` with every piece of the log in order, gaps included, and waits for it each time. */
export async function followLogs(
  follow: (lastId: string) => AsyncIterable<StreamMessage>,
  onChunk: (logs: JobRunLogs) => void | Promise<void>,
  { offset = 0 }: FollowOptions = {},
): Promise<Followed> {
  const followed = { nextOffset: offset, isComplete: false };
  for await (const { event, data } of follow(String(offset))) {
    if (event !== 'message') continue;
    const page = JSON.parse(data) as JobRunLogs;
    if (page.text !== '' || page.gap !== null) await onChunk(page);
    followed.nextOffset = page.next_offset;
    followed.isComplete = page.is_complete;
  }
  return followed;
}
