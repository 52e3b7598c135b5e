// Builders for tests of a job's life: jobs, runs and ends that say only what the test is about.
import { emptyReceipt, type RunProof } from './receipt.ts';
import type { RunEnd } from './run-end.ts';
import type { JobState, RunState } from './transition.ts';

/** A BATCH job that became pending at time 0 and is never retried. */
export function aPendingJob(wish: Partial<JobState> = {}): JobState {
  return {
    ...{ status: 'PENDING', task: 'BATCH', maxRetryCount: 0, onNodeLost: null, maxTimeoutAssignMs: 300_000 },
    ...{ maxTimeoutRunMs: 60_000, failedRunCount: 0, lostRunCount: 0, timeoutAssignAtMs: 300_000 },
    ...{ startedAtMs: null, completedAtMs: null, statusReason: null, statusDetail: null, avoidNodeIds: [] },
    ...wish,
  };
}

/** A run that was just placed on node-1. */
export function aPlacedRun(wish: Partial<RunState> = {}): RunState {
  return {
    ...{ nodeId: 'node-1', attempt: 1, status: 'ASSIGNED', desired: 'run', runDeadlineAtMs: null },
    ...{
      assignedAtMs: 0,
      startedAtMs: null,
      endedAtMs: null,
      releasedAtMs: null,
      exitCode: null,
      exitSignal: null,
    },
    ...{ isOomKilled: false, statusReason: null, statusDetail: null, teardown: null, stopGraceMs: null },
    ...{ progress: null, imageDigest: null, containerId: null, receipt: emptyReceipt },
    ...wish,
  };
}

/** The proof of an agent that saw the whole end of a run without GPUs. */
export function aProof(wish: Partial<RunProof> = {}): RunProof {
  const gone = { state: 'gone', why: null } as const;
  const none = { state: 'none', why: null } as const;
  return {
    ...{
      isWhole: true,
      isLogComplete: true,
      container: gone,
      processes: gone,
      networks: gone,
      volumes: none,
    },
    ...{ gpus: [], steps: [] },
    ...wish,
  };
}

/** An exit with code 0 at time 0, without a line of log. */
export function anEnd(wish: Partial<RunEnd> = {}): RunEnd {
  return {
    ...{ exitCode: 0, exitSignal: null, isOomKilled: false, endedAtMs: 0, error: null, lastLogLines: '' },
    ...wish,
  };
}
