// Follows the log of a run by offset until its last byte.
import { isTerminal } from '../domain/job.ts';
import type { JobRun, JobRunLogs } from '../protocol/job-run.ts';
import { throughOutage, type Watch } from './outage.ts';

const pauseMs = 500;
/** A lost node's last bytes may never come; after this long without news we look whether the run has ended. */
const maxSilenceMs = 60_000;

export type FollowOptions = {
  /** Byte to begin at; 0 when absent. */
  offset?: number;
  signal?: AbortSignal;
};

/** Where following ended; not complete means that the run ended and its last bytes never arrived. */
export type Followed = { nextOffset: number; isComplete: boolean };

export type LogSource = Watch & {
  logs: (offset: number) => Promise<JobRunLogs>;
  run: () => Promise<Pick<JobRun, 'status'>>;
};

/** Calls `onChunk` with every piece of the log in order, gaps included, and waits for it each time. */
export async function followLogs(
  source: LogSource,
  onChunk: (logs: JobRunLogs) => void | Promise<void>,
  { offset = 0 }: FollowOptions = {},
): Promise<Followed> {
  let nextOffset = offset;
  let newsMs = source.edge.nowMs();
  for (;;) {
    const page = await throughOutage(source, () => source.logs(nextOffset));
    if (page.text !== '' || page.gap !== null) await onChunk(page);
    const hasNews = page.next_offset > nextOffset;
    nextOffset = page.next_offset;
    if (hasNews) newsMs = source.edge.nowMs();
    if (hasNews && nextOffset < page.total_bytes) continue;
    // GET of a run carries its whole log, so it is asked for only when there is reason to think the end has come.
    const isSilent = source.edge.nowMs() - newsMs > maxSilenceMs;
    if ((page.is_complete || isSilent) && (await hasEnded(source))) {
      return { nextOffset, isComplete: page.is_complete };
    }
    if (isSilent) newsMs = source.edge.nowMs();
    await source.edge.sleep(pauseMs, source.signal);
  }
}

async function hasEnded(source: LogSource): Promise<boolean> {
  const run = await throughOutage(source, source.run);
  return isTerminal(run.status);
}
