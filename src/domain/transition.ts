// The life of a job and its run: one pure, exhaustive step from a state and an event to the next state.
//
// INVARIANTS
// - A terminal job or run never changes its status again; only the release of a run's resources may still follow.
// - A run's resources are released once, and only by proof of its end or by fencing its node.
// - A job returns to PENDING only when its last run has ended or is fenced.

import {
  isTerminal,
  type JobRunStatus,
  type JobStatus,
  type JobTask,
  type NodeLossPolicy,
  type TeardownState,
} from './job.ts';
import { maxLostRetries, mayBeReplaced } from './replacement.ts';
import { endOf, type RunEnd } from './run-end.ts';

export interface JobState {
  status: JobStatus;
  task: JobTask;
  maxRetryCount: number;
  onNodeLost: NodeLossPolicy | null;
  maxTimeoutAssignMs: number;
  maxTimeoutRunMs: number | null;
  failedRunCount: number;
  lostRunCount: number;
  timeoutAssignAtMs: number | null;
  startedAtMs: number | null;
  completedAtMs: number | null;
  statusReason: string | null;
  statusDetail: Record<string, unknown> | null;
  avoidNodeIds: readonly string[];
}

export interface TeardownRecord {
  state: TeardownState;
  requestedAtMs: number;
  deadlineAtMs: number;
}

export interface RunState {
  nodeId: string;
  attempt: number;
  status: JobRunStatus;
  desired: 'run' | 'stop';
  runDeadlineAtMs: number | null;
  startedAtMs: number | null;
  endedAtMs: number | null;
  releasedAtMs: number | null;
  exitCode: number | null;
  exitSignal: string | null;
  isOomKilled: boolean;
  statusReason: string | null;
  statusDetail: Record<string, unknown> | null;
  teardown: TeardownRecord | null;
  stopGraceMs: number | null;
  progress: unknown;
  imageDigest: string | null;
}

export interface StopReason {
  text: string;
  detail: Record<string, unknown>;
  graceMs: number;
}

/** What can happen to a job or its run. Durations and times in epoch milliseconds. */
export type LifeEvent =
  | { kind: 'placed'; run: RunState }
  | { kind: 'assign_timeout' }
  | { kind: 'stop_requested'; reason: StopReason }
  | { kind: 'preparing'; progress: unknown }
  | { kind: 'running'; startedAtMs: number; imageDigest: string | null }
  /** Its container runs, and the gateway had no public port left for it. */
  | { kind: 'no_public_port'; startedAtMs: number }
  | { kind: 'exited'; end: RunEnd }
  | { kind: 'teardown_step'; step: 'signalled' | 'killed' }
  | { kind: 'released'; steps: readonly unknown[] }
  | { kind: 'start_timeout' }
  | { kind: 'run_timeout' }
  /** The node is to be empty, and its deadline for that has passed. */
  | { kind: 'node_drained'; reason: string }
  | { kind: 'node_lost'; reason: string };

export interface LifeState {
  job: JobState;
  /** The job's newest run; null before the first. */
  run: RunState | null;
}

export type Outcome = { kind: 'ignored'; why: string } | ({ kind: 'changed' } & LifeState);

/** An agent that was cut off stopped the run by itself: a loss of the node, told by the node. */
export const cutOffCode = 'cut_off';
/** The ladder's own time beyond the grace: KILL, retries, removal. */
export const teardownMarginMs = 30_000;
export const defaultStopGraceMs = 10_000;

export function transition(state: LifeState, event: LifeEvent, nowMs: number): Outcome {
  switch (event.kind) {
    case 'placed':
      return place(state, event.run);
    case 'assign_timeout':
      return assignTimeout(state, nowMs);
    case 'stop_requested':
      return requestStop(state, event.reason, nowMs);
    default:
      if (state.run === null) return ignored('the job has no run');
      return runEvent({ job: state.job, run: state.run }, event, nowMs);
  }
}

interface WithRun {
  job: JobState;
  run: RunState;
}
type JobOnlyKind = 'placed' | 'assign_timeout' | 'stop_requested';
type RunLifeEvent = Exclude<LifeEvent, { kind: JobOnlyKind }>;

function runEvent(state: WithRun, event: RunLifeEvent, nowMs: number): Outcome {
  switch (event.kind) {
    case 'preparing':
      return prepare(state, event.progress);
    case 'running':
      return start(state, event);
    case 'no_public_port':
      return failWithoutPort(state, event.startedAtMs, nowMs);
    case 'exited':
      return exit(state, event.end, nowMs);
    case 'teardown_step':
      return stepTeardown(state, event.step);
    case 'released':
      return release(state, event.steps, nowMs);
    case 'start_timeout':
      return timeout(state, { reason: startTimeoutReason, statuses: ['ASSIGNED', 'PREPARING'], nowMs });
    case 'run_timeout':
      return timeout(state, { reason: runTimeoutReason, statuses: ['RUNNING'], nowMs });
    case 'node_drained':
      return drainNode(state, event.reason, nowMs);
    case 'node_lost':
      return loseNode(state, event.reason, nowMs);
  }
}

const startTimeoutReason = {
  code: 'start_timeout',
  text: 'The container did not start within max_timeout_start_ms.',
};
const noPublicPortReason = {
  code: 'no_public_port',
  text: 'No public port was free for the job: all of the gateway are in use or rest after use. Try again later, stop jobs that publish ports, or widen --gateway-ports.',
};
const runTimeoutReason = {
  code: 'run_timeout',
  text: 'The job ran longer than max_timeout_run_ms and was stopped.',
};

function place({ job, run }: LifeState, next: RunState): Outcome {
  if (job.status !== 'PENDING') return ignored(`the job is ${job.status}`);
  if (run !== null && !isTerminal(run.status)) return ignored('its last run still lives');
  return changed({ ...job, status: 'ASSIGNED', timeoutAssignAtMs: null }, next);
}

function assignTimeout({ job, run }: LifeState, nowMs: number): Outcome {
  if (job.status !== 'PENDING') return ignored(`the job is ${job.status}`);
  if (job.timeoutAssignAtMs === null || nowMs < job.timeoutAssignAtMs) return ignored('not due');
  const text = 'No node could take the job within max_timeout_assign_ms.';
  return changed(endJob(job, 'FAILED', { text, detail: { code: 'assign_timeout' }, nowMs }), run);
}

function requestStop({ job, run }: LifeState, reason: StopReason, nowMs: number): Outcome {
  if (isTerminal(job.status)) return ignored(`the job is ${job.status}`);
  const stopped = endJob(job, 'CANCELLED', { text: reason.text, detail: reason.detail, nowMs });
  if (run === null || isTerminal(run.status) || run.status === 'FAILING') return changed(stopped, run);
  return changed(stopped, tearDown(run, { status: 'CANCELLING', ...reason, nowMs }));
}

function prepare({ job, run }: WithRun, progress: unknown): Outcome {
  if (run.status === 'ASSIGNED') return changed(job, { ...run, status: 'PREPARING', progress });
  if (run.status === 'PREPARING') return changed(job, { ...run, progress });
  return ignored(`the run is ${run.status}`);
}

function start({ job, run }: WithRun, event: { startedAtMs: number; imageDigest: string | null }): Outcome {
  const { startedAtMs, imageDigest } = event;
  if (run.status === 'FAILING' || run.status === 'CANCELLING') {
    // Too late to count as RUNNING, yet it ran: what was used is kept.
    if (run.startedAtMs !== null) return ignored(`the run is ${run.status}`);
    // Reports may come in the wrong order; a start is never after the end.
    return changed(job, {
      ...run,
      startedAtMs: Math.min(startedAtMs, run.endedAtMs ?? startedAtMs),
      imageDigest,
    });
  }
  if (run.status !== 'ASSIGNED' && run.status !== 'PREPARING') return ignored(`the run is ${run.status}`);
  const runDeadlineAtMs = job.maxTimeoutRunMs === null ? null : startedAtMs + job.maxTimeoutRunMs;
  return changed(
    { ...job, status: 'RUNNING', startedAtMs: job.startedAtMs ?? startedAtMs },
    { ...run, status: 'RUNNING', startedAtMs, runDeadlineAtMs, imageDigest, progress: null },
  );
}

function exit({ job, run }: WithRun, end: RunEnd, nowMs: number): Outcome {
  if (isTerminal(run.status)) return ignored(`the run is ${run.status}`);
  const ended = recordEnd(run, end);
  if (run.status === 'FAILING' || run.status === 'CANCELLING') {
    return run.endedAtMs === null ? changed(job, ended) : ignored('its end is known');
  }
  const told = endOf(end);
  const { status, text, detail } = told;
  const final: RunState = { ...ended, status, statusReason: text, statusDetail: detail, progress: null };
  if (told.status === 'COMPLETED') return changed(endJob(job, 'COMPLETED', { text, detail, nowMs }), final);
  const failure = { nodeId: run.nodeId, text: told.text, detail, nowMs };
  return changed(detail.code === cutOffCode ? failOrReplace(job, failure) : failOrRetry(job, failure), final);
}

function stepTeardown({ job, run }: WithRun, step: 'signalled' | 'killed'): Outcome {
  if (run.teardown === null || isTerminal(run.status)) return ignored('no teardown is under way');
  const rank = { requested: 0, signalled: 1, killed: 2, verified: 3, unverified: 3 };
  if (rank[step] <= rank[run.teardown.state]) return ignored('the teardown is further');
  return changed(job, { ...run, teardown: { ...run.teardown, state: step } });
}

function release(state: WithRun, steps: readonly unknown[], nowMs: number): Outcome {
  const { job, run } = state;
  if (run.releasedAtMs !== null) return ignored('its resources are back already');
  const endedAtMs = run.endedAtMs ?? nowMs;
  const teardown: TeardownRecord | null = run.teardown && { ...run.teardown, state: 'verified' };
  const gone = { ...run, releasedAtMs: nowMs, endedAtMs, teardown, progress: null };
  if (isTerminal(run.status)) return changed(job, gone);
  if (run.status === 'CANCELLING') return changed(job, { ...gone, status: 'CANCELLED' });
  if (run.status === 'FAILING') return changed(returnToPending(job, nowMs), { ...gone, status: 'FAILED' });
  const text = 'The container disappeared from the node before its end was seen.';
  const detail = { code: 'container_disappeared', steps };
  const failed: RunState = { ...gone, status: 'FAILED', statusReason: text, statusDetail: detail };
  return changed(failOrRetry(job, { nodeId: run.nodeId, text, detail, nowMs }), failed);
}

/** Never RUNNING: whoever waits for that expects a way in. The node is not to blame, so it is not avoided. */
function failWithoutPort({ job, run }: WithRun, startedAtMs: number, nowMs: number): Outcome {
  if (run.status !== 'ASSIGNED' && run.status !== 'PREPARING') return ignored(`the run is ${run.status}`);
  return giveUp({ job, run: { ...run, startedAtMs } }, { reason: noPublicPortReason, nowMs });
}

function timeout(
  { job, run }: WithRun,
  due: { reason: { code: string; text: string }; statuses: readonly JobRunStatus[]; nowMs: number },
): Outcome {
  if (!due.statuses.includes(run.status)) return ignored(`the run is ${run.status}`);
  return giveUp({ job: { ...job, avoidNodeIds: avoid(job, run.nodeId) }, run }, due);
}

/** The run is torn down; the job ends at once where no retry is left, else it waits for the run's end. */
function giveUp(
  { job, run }: WithRun,
  { reason, nowMs }: { reason: { code: string; text: string }; nowMs: number },
): Outcome {
  const { text, code } = reason;
  const failing = tearDown(run, {
    status: 'FAILING',
    text,
    detail: { code },
    graceMs: run.stopGraceMs ?? defaultStopGraceMs,
    nowMs,
  });
  const counted = { ...job, failedRunCount: job.failedRunCount + 1 };
  if (counted.failedRunCount <= job.maxRetryCount) return changed(counted, failing);
  return changed(endJob(counted, 'FAILED', { text, detail: { code }, nowMs }), failing);
}

/** An operator may drain as often as there is a reason, so this counts neither as a failure nor as a loss. */
function drainNode({ job, run }: WithRun, text: string, nowMs: number): Outcome {
  if (isTerminal(run.status) || run.desired === 'stop') return ignored(`the run is ${run.status}`);
  const detail = { code: 'node_drained' };
  const graceMs = run.stopGraceMs ?? defaultStopGraceMs;
  const failing = tearDown(run, { status: 'FAILING', text, detail, graceMs, nowMs });
  const moved = { ...job, avoidNodeIds: avoid(job, run.nodeId) };
  return changed(mayBeReplaced(job) ? moved : endJob(moved, 'FAILED', { text, detail, nowMs }), failing);
}

function loseNode({ job, run }: WithRun, reason: string, nowMs: number): Outcome {
  if (run.releasedAtMs !== null) return ignored('its resources are back already');
  const detail = { code: 'node_lost' };
  const teardown: TeardownRecord | null = run.teardown && { ...run.teardown, state: 'unverified' };
  const fenced = { ...run, releasedAtMs: nowMs, endedAtMs: run.endedAtMs ?? nowMs, teardown, progress: null };
  if (isTerminal(run.status)) return changed(job, fenced);
  if (run.status === 'CANCELLING') return changed(job, { ...fenced, status: 'CANCELLED' });
  if (run.status === 'FAILING') return changed(returnToPending(job, nowMs), { ...fenced, status: 'FAILED' });
  const lost: RunState = { ...fenced, status: 'FAILED', statusReason: reason, statusDetail: detail };
  return changed(failOrReplace(job, { nodeId: run.nodeId, text: reason, detail, nowMs }), lost);
}

function recordEnd(run: RunState, end: RunEnd): RunState {
  const endedAtMs = run.startedAtMs === null ? end.endedAtMs : Math.max(end.endedAtMs, run.startedAtMs);
  const { exitCode, exitSignal, isOomKilled } = end;
  return { ...run, endedAtMs, exitCode, exitSignal, isOomKilled };
}

function tearDown(
  run: RunState,
  stop: {
    status: 'CANCELLING' | 'FAILING';
    text: string;
    detail: Record<string, unknown>;
    graceMs: number;
    nowMs: number;
  },
): RunState {
  const deadlineAtMs = stop.nowMs + stop.graceMs + teardownMarginMs;
  return {
    ...run,
    status: stop.status,
    desired: 'stop',
    statusReason: stop.text,
    statusDetail: stop.detail,
    stopGraceMs: stop.graceMs,
    teardown: { state: 'requested', requestedAtMs: stop.nowMs, deadlineAtMs },
  };
}

interface Failure {
  nodeId: string;
  text: string;
  detail: Record<string, unknown>;
  nowMs: number;
}

function failOrRetry(job: JobState, { nodeId, text, detail, nowMs }: Failure): JobState {
  const counted = { ...job, failedRunCount: job.failedRunCount + 1, avoidNodeIds: avoid(job, nodeId) };
  if (counted.failedRunCount <= job.maxRetryCount) return returnToPending(counted, nowMs);
  return endJob(counted, 'FAILED', { text, detail, nowMs });
}

function failOrReplace(job: JobState, { nodeId, text, detail, nowMs }: Failure): JobState {
  const counted = { ...job, lostRunCount: job.lostRunCount + 1, avoidNodeIds: avoid(job, nodeId) };
  const isReplaced = mayBeReplaced(job) && counted.lostRunCount <= maxLostRetries;
  return isReplaced ? returnToPending(counted, nowMs) : endJob(counted, 'FAILED', { text, detail, nowMs });
}

/** Back to the queue with a fresh assign deadline; a job that already ended stays ended. */
function returnToPending(job: JobState, nowMs: number): JobState {
  if (isTerminal(job.status)) return job;
  return { ...job, status: 'PENDING', timeoutAssignAtMs: nowMs + job.maxTimeoutAssignMs };
}

function endJob(
  job: JobState,
  status: 'COMPLETED' | 'FAILED' | 'CANCELLED',
  why: { text: string | null; detail: Record<string, unknown> | null; nowMs: number },
): JobState {
  if (isTerminal(job.status)) return job;
  return {
    ...job,
    status,
    completedAtMs: why.nowMs,
    timeoutAssignAtMs: null,
    statusReason: why.text,
    statusDetail: why.detail,
  };
}

function avoid(job: JobState, nodeId: string): readonly string[] {
  return job.avoidNodeIds.includes(nodeId) ? job.avoidNodeIds : [...job.avoidNodeIds, nodeId];
}

function changed(job: JobState, run: RunState | null): Outcome {
  return { kind: 'changed', job, run };
}

function ignored(why: string): Outcome {
  return { kind: 'ignored', why };
}
