// Follows a job through its runs: status, pull progress and log bytes in the order they happen, until it has ended.
import type { Job } from '../protocol/job.ts';
import type { JobRun, JobRunLogs } from '../protocol/job-run.ts';
import type { Client } from '../sdk/client.ts';
import { isTransient } from '../sdk/retry.ts';
import { outcomeExitCode } from './exit-code.ts';
import type { Io } from './io.ts';
import { latestRun } from './resolve.ts';

const firstPauseMs = 100;
const maxPauseMs = 1_000;
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
  const log = logReader(following, listener);
  let seen = '';
  let pauseMs = firstPauseMs;
  for (;;) {
    const job = await throughRestart(following, () => client.jobs.get(uuid));
    const run = await throughRestart(following, () => latestRun(client, uuid));
    const news = JSON.stringify([job.status, job.pending_reason, run?.uuid, run?.status, run?.progress]);
    if (news !== seen) listener.onChange(job, run);
    const hasBytes = run !== null && (await log.read(run));
    if (outcomeExitCode(job.status) !== null) {
      await log.readLastBytes();
      return job;
    }
    if (io.nowMs() >= untilMs) return job;
    pauseMs = news !== seen || hasBytes ? firstPauseMs : Math.min(pauseMs * 1.5, maxPauseMs);
    seen = news;
    await io.sleep(Math.min(pauseMs, Math.max(0, untilMs - io.nowMs())), signal);
  }
}

/** Remembers which run's log is being read and how far. */
function logReader(following: Following, listener: JobListener) {
  const { client, io, signal } = following;
  let runUuid: string | null = null;
  let offset = 0;
  let isComplete = false;
  /** True when there were new bytes. */
  const readOn = async (uuid: string): Promise<boolean> => {
    const start = offset;
    for (;;) {
      const slice: JobRunLogs = await throughRestart(following, () => client.runs.logs(uuid, { offset }));
      if (slice.gap) listener.onGap(slice.gap.to - slice.gap.from);
      if (slice.text !== '') listener.onLog(slice.text);
      isComplete = slice.is_complete;
      if (slice.next_offset <= offset) return offset > start;
      offset = slice.next_offset;
      if (offset >= slice.total_bytes) return true;
    }
  };
  return {
    /** Reads the rest of the run before, then what this one has. */
    async read(run: JobRun): Promise<boolean> {
      if (runUuid !== null && runUuid !== run.uuid) await readOn(runUuid);
      if (runUuid !== run.uuid) offset = 0;
      runUuid = run.uuid;
      return readOn(run.uuid);
    },
    async readLastBytes(): Promise<void> {
      if (runUuid === null) return;
      const giveUpMs = io.nowMs() + lastBytesMs;
      await readOn(runUuid);
      while (!isComplete && io.nowMs() < giveUpMs) {
        await io.sleep(firstPauseMs, signal);
        await readOn(runUuid);
      }
    },
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
    await io.sleep(maxPauseMs, signal);
  }
}
