// Waits for the end of a job's teardown: answers early on a hint, looks again in between, gives up when the time is up or
// the server stops.
import type { Hints } from '../db/hints.ts';
import type { JobRecord } from '../db/job-rows.ts';

/** A hint may get lost; then this is how late we see the end. */
const lookAgainMs = 500;

export async function awaitTeardown(options: {
  jobId: string;
  waitMs: number;
  read: () => Promise<JobRecord>;
  hints: Hints;
  /** Ends the wait. */
  stopping: AbortSignal;
}): Promise<JobRecord> {
  const giveUpAt = performance.now() + options.waitMs;
  for (;;) {
    const hinted = nextHint(options);
    const job = await options.read();
    const leftMs = giveUpAt - performance.now();
    if (!isTearingDown(job) || leftMs <= 0 || options.stopping.aborted) {
      hinted.cancel();
      return job;
    }
    await hinted.wait(Math.min(lookAgainMs, leftMs));
  }
}

function isTearingDown(job: JobRecord): boolean {
  const state = job.lastRun?.teardown?.state;
  return state === 'requested' || state === 'signalled' || state === 'killed';
}

/** Listens from now on, so that a change between the read and the wait is not missed. */
function nextHint({ hints, jobId, stopping }: { hints: Hints; jobId: string; stopping: AbortSignal }) {
  let unsubscribe = () => {};
  const happened = new Promise<void>((resolve) => {
    const unhint = hints.subscribe((hint) => {
      if (hint.kind === 'job' && hint.jobId === jobId) resolve();
    });
    const stop = () => resolve();
    stopping.addEventListener('abort', stop);
    unsubscribe = () => {
      unhint();
      stopping.removeEventListener('abort', stop);
    };
  });
  return {
    cancel: unsubscribe,
    async wait(timeoutMs: number) {
      let timer: NodeJS.Timeout | undefined;
      const timeout = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, timeoutMs);
      });
      await Promise.race([happened, timeout]);
      clearTimeout(timer);
      unsubscribe();
    },
  };
}
