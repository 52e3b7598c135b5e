// Waits until a job has ended and tells of each status on the way.
import { isTerminal } from '../domain/job.ts';
import type { Job } from '../protocol/job.ts';
import { throughOutage, type Watch } from './outage.ts';

const firstPauseMs = 100;
const maxPauseMs = 2000;

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

/** The job in its terminal status. */
export async function waitForJob(
  watch: Watch & { get: () => Promise<Job> },
  { timeoutMs = Number.POSITIVE_INFINITY, onStatus }: WaitOptions,
): Promise<Job> {
  const deadlineMs = watch.edge.nowMs() + timeoutMs;
  let seenStatus: string | undefined;
  let pauseMs = firstPauseMs;
  for (;;) {
    const job = await throughOutage(watch, watch.get);
    if (job.status !== seenStatus) {
      onStatus?.(job);
      seenStatus = job.status;
      pauseMs = firstPauseMs;
    }
    if (isTerminal(job.status)) return job;
    const leftMs = deadlineMs - watch.edge.nowMs();
    if (leftMs <= 0) throw new WaitTimeoutError(job, timeoutMs);
    await watch.edge.sleep(Math.min(pauseMs, leftMs), watch.signal);
    pauseMs = Math.min(pauseMs * 1.5, maxPauseMs);
  }
}
