// Follows a job through its runs: status, pull progress and log bytes in the order they happen, until it has ended.
import type { Job } from '../protocol/job.ts';
import type { JobRun, JobRunLogs } from '../protocol/job-run.ts';
import type { Changes } from '../sdk/changes.ts';
import type { Client } from '../sdk/client.ts';
import { isTransient } from '../sdk/retry.ts';
import { outcomeExitCode } from './exit-code.ts';
import type { Io } from './io.ts';
import { latestRun } from './resolve.ts';

/** Between looks at a job that nothing is told of. */
const maxPauseMs = 5_000;
const retryMs = 1_000;
/** A restart of the server takes seconds; after this the person should hear that it is gone. */
const maxOutageMs = 60_000;
/** How long an ended job's last log bytes are waited for: they never come when its node is lost. */
const lastBytesMs = 10_000;

export interface JobListener {
  /** Called at first and whenever job or run have changed. */
  onChange(job: Job, run: JobRun | null): void;
  onLog(text: string): void;
  /** Bytes that the server did not keep. */
  onGap(bytes: number): void;
}

export interface Following {
  client: Client;
  io: Io;
  signal: AbortSignal;
  /** Called once for each time that the server cannot be reached. */
  onOutage?: () => void;
}

/** The job once it has ended and its log was read, or as it is when `untilMs` (epoch) has passed. */
export async function followJob(
  following: Following,
  uuid: string,
  options: { listener: JobListener; untilMs?: number },
): Promise<Job> {
  const { io, client, signal } = following;
  const { listener, untilMs = Number.POSITIVE_INFINITY } = options;
  const done = new AbortController();
  const within = { ...following, signal: AbortSignal.any([signal, done.signal]) };
  const log = logReader(within, listener);
  const changes = client.jobs.changes(uuid, { signal: within.signal });
  let seen = '';
  try {
    for (;;) {
      const job = await throughRestart(following, () => client.jobs.get(uuid));
      const run = await throughRestart(following, () => latestRun(client, uuid));
      const news = JSON.stringify([job.status, job.pending_reason, run?.uuid, run?.status, run?.progress]);
      if (news !== seen) listener.onChange(job, run);
      seen = news;
      if (run !== null) await log.follow(run);
      if (outcomeExitCode(job.status) !== null) {
        await log.end();
        return job;
      }
      if (io.nowMs() >= untilMs) return job;
      await changeWithin(within, changes, Math.min(maxPauseMs, Math.max(0, untilMs - io.nowMs())));
    }
  } finally {
    done.abort();
  }
}

/** Until a change is told of, at most for `ms`: why a job is PENDING is told by nobody. */
async function changeWithin({ io, signal }: Following, changes: Changes, ms: number): Promise<void> {
  const timeUp = new AbortController();
  const stop = AbortSignal.any([signal, timeUp.signal]);
  io.sleep(ms, stop).then(
    () => timeUp.abort(),
    () => {},
  );
  await changes.next(stop).finally(() => timeUp.abort());
  signal.throwIfAborted();
}

/** Follows the log of one run after the other, each to its end. */
function logReader({ client, io, signal }: Following, listener: JobListener) {
  let runUuid: string | null = null;
  let reading: Promise<unknown> = Promise.resolve();
  const show = (slice: JobRunLogs) => {
    if (slice.gap) listener.onGap(slice.gap.to - slice.gap.from);
    if (slice.text !== '') listener.onLog(slice.text);
  };
  const end = async () => {
    const timeUp = new AbortController();
    const late = io.sleep(lastBytesMs, AbortSignal.any([signal, timeUp.signal])).catch(() => {});
    await Promise.race([reading, late]).finally(() => timeUp.abort());
  };
  return {
    async follow(run: JobRun): Promise<void> {
      if (runUuid === run.uuid) return;
      await end();
      runUuid = run.uuid;
      reading = client.runs.followLogs(run.uuid, show, { signal });
      // Heard of by whoever waits for the end.
      reading.catch(() => {});
    },
    end,
  };
}

/** Tries again while the server is restarted. */
export async function throughRestart<T>(
  following: Omit<Following, 'client'>,
  call: () => Promise<T>,
): Promise<T> {
  const { io, signal, onOutage } = following;
  const giveUpMs = io.nowMs() + maxOutageMs;
  for (let tries = 1; ; tries += 1) {
    try {
      const answer = await call();
      signal.throwIfAborted();
      return answer;
    } catch (error) {
      if (signal.aborted || !isTransient(error) || io.nowMs() >= giveUpMs) throw error;
    }
    if (tries === 1) onOutage?.();
    await io.sleep(retryMs, signal);
  }
}
