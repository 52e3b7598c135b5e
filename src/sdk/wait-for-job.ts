// Waits until a job has ended and tells of each status on the way.
import { isTerminal } from '../domain/job.ts';
import type { Job } from '../protocol/job.ts';
import type { Changes } from './changes.ts';
import { throughOutage, type Watch } from './outage.ts';

/** Timers take no more than 24 days; a look in between costs nothing. */
const longestSleepMs = 3_600_000;

export type WaitOptions = {
  /** Milliseconds until `WaitTimeoutError`; absent: no limit. */
  timeoutMs?: number;
  /** Called with the job when its status is first seen and at every change. */
  onStatus?: (job: Job) => void;
  signal?: AbortSignal;
};

/** The time was up; the job goes on. */
export class WaitTimeoutError extends Error {
  override name = 'WaitTimeoutError';
  readonly job: Job;

  constructor(job: Job, timeoutMs: number) {
    super(`Job ${job.uuid} is still ${job.status} after ${timeoutMs} ms. It goes on; wait again or stop it.`);
    this.job = job;
  }
}

/** The job in its terminal status. `changes` says when to look again. */
export async function waitForJob(
  watch: Watch & { get: () => Promise<Job>; changes: Changes },
  { timeoutMs = Number.POSITIVE_INFINITY, onStatus }: WaitOptions,
): Promise<Job> {
  const deadlineMs = watch.edge.nowMs() + timeoutMs;
  let seenStatus: string | undefined;
  try {
    for (;;) {
      const job = await throughOutage(watch, watch.get);
      if (job.status !== seenStatus) onStatus?.(job);
      seenStatus = job.status;
      if (isTerminal(job.status)) return job;
      const leftMs = deadlineMs - watch.edge.nowMs();
      if (leftMs <= 0) throw new WaitTimeoutError(job, timeoutMs);
      await changeWithin(watch, leftMs);
    }
  } finally {
    watch.changes.close();
  }
}

async function changeWithin(
  { edge, signal, changes }: Watch & { changes: Changes },
  ms: number,
): Promise<void> {
  const timeUp = new AbortController();
  const stop = signal === undefined ? timeUp.signal : AbortSignal.any([signal, timeUp.signal]);
  edge.sleep(Math.min(ms, longestSleepMs), stop).then(
    () => timeUp.abort(),
    () => {},
  );
  await changes.next(stop).finally(() => timeUp.abort());
  signal?.throwIfAborted();
}
