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
import { isProved, type Receipt, type RunProof, type TeardownStep, withMark } from './receipt.ts';
import { maxLostRetries, mayBeReplaced } from './replacement.ts';
import { endOf, type RunEnd } from './run-end.ts';
import { noPublicPortReason, runTimeoutReason, startTimeoutReason } from './teardown-reasons.ts';

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
  assignedAtMs: number;
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
  /** As its agent told it; null until it did. */
  containerId: string | null;
  receipt: Receipt;
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
  | { kind: 'running'; startedAtMs: number; imageDigest: string | null; containerId: string | null }
  /** Its container runs, and the gateway had no public port left for it. */
  | { kind: 'no_public_port'; startedAtMs: number }
  | { kind: 'exited'; end: RunEnd }
  | { kind: 'teardown_step'; step: TeardownStep; afterMs: number | null; text: string | null }
  /** `proof` null: an agent that is too old to say what it saw. */
  | { kind: 'released'; proof: RunProof | null }
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
      return start(state, { ...event, startedAtMs: notBeforeAssigned(event, state.run) });
    case 'no_public_port':
      return failWithoutPort(state, notBeforeAssigned(event, state.run), nowMs);
    case 'exited':
      return exit(state, event.end, nowMs);
    case 'teardown_step':
      return stepTeardown(state, event, nowMs);
    case 'released':
      return release(state, event.proof, nowMs);
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

/** A node tells it by its own clock, which may have jumped; time before the assignment is neither billed nor counted. */
function notBeforeAssigned(told: { startedAtMs: number }, { assignedAtMs }: RunState): number {
  return Math.max(told.startedAtMs, assignedAtMs);
}

function prepare({ job, run }: WithRun, progress: unknown): Outcome {
  if (run.status === 'ASSIGNED') return changed(job, { ...run, status: 'PREPARING', progress });
  if (run.status === 'PREPARING') return changed(job, { ...run, progress });
  return ignored(`the run is ${run.status}`);
}

function start({ job, run }: WithRun, event: LifeEvent & { kind: 'running' }): Outcome {
  const { startedAtMs, imageDigest, containerId } = event;
  if (run.status === 'FAILING' || run.status === 'CANCELLING') {
    // Too late to count as RUNNING, yet it ran: what was used is kept.
    if (run.startedAtMs !== null) return ignored(`the run is ${run.status}`);
    // Reports may come in the wrong order; a start is never after the end.
    return changed(job, {
      ...run,
      startedAtMs: Math.min(startedAtMs, run.endedAtMs ?? startedAtMs),
      imageDigest,
      containerId,
    });
  }
  if (run.status !== 'ASSIGNED' && run.status !== 'PREPARING') return ignored(`the run is ${run.status}`);
  const runDeadlineAtMs = job.maxTimeoutRunMs === null ? null : startedAtMs + job.maxTimeoutRunMs;
  return changed(
    { ...job, status: 'RUNNING', startedAtMs: job.startedAtMs ?? startedAtMs },
    { ...run, status: 'RUNNING', startedAtMs, runDeadlineAtMs, imageDigest, containerId, progress: null },
  );
}

function exit({ job, run }: WithRun, end: RunEnd, nowMs: number): Outcome {
  if (isTerminal(run.status)) return ignored(`the run is ${run.status}`);
  const ended = recordEnd(run, end, nowMs);
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

const teardownRank = { requested: 0, signalled: 1, killed: 2, verified: 3, unverified: 3 };

function stepTeardown(
  { job, run }: WithRun,
  { step, afterMs, text }: LifeEvent & { kind: 'teardown_step' },
  nowMs: number,
): Outcome {
  if (run.releasedAtMs !== null) return ignored('its teardown has ended');
  // What a node stops by itself is not a teardown yet, but it can get stuck like one.
  const isUnderWay = run.teardown !== null || isTerminal(run.status) || step === 'stuck';
  if (!isUnderWay) return ignored('no teardown is under way');
  const receipt = withMark(run.receipt, step, { atMs: nowMs, afterMs, text });
  const moves = step === 'signalled' || step === 'killed';
  if (moves && run.teardown !== null && teardownRank[step] > teardownRank[run.teardown.state])
    return changed(job, { ...run, receipt, teardown: { ...run.teardown, state: step } });
  return receipt === run.receipt ? ignored('the step is known') : changed(job, { ...run, receipt });
}

function release(state: WithRun, proof: RunProof | null, nowMs: number): Outcome {
  const { job, run } = state;
  if (run.releasedAtMs !== null) return proveLate(state, proof, nowMs);
  const gone = { ...proved(run, proof, nowMs), releasedAtMs: nowMs, progress: null };
  const ended = { ...gone, endedAtMs: run.endedAtMs ?? nowMs };
  if (isTerminal(run.status)) return changed(job, ended);
  if (run.status === 'CANCELLING') return changed(job, { ...ended, status: 'CANCELLED' });
  if (run.status === 'FAILING') return changed(returnToPending(job, nowMs), { ...ended, status: 'FAILED' });
  const text = 'The container disappeared from the node before its end was seen.';
  const detail = { code: 'container_disappeared' };
  const failed: RunState = { ...ended, status: 'FAILED', statusReason: text, statusDetail: detail };
  return changed(failOrRetry(job, { nodeId: run.nodeId, text, detail, nowMs }), failed);
}

/** Its node was given up and came back: what it says now is what was missing. The resources went back with the fencing. */
function proveLate({ job, run }: WithRun, proof: RunProof | null, nowMs: number): Outcome {
  const isMissing = run.receipt.fenced !== null && run.receipt.proof === null;
  if (!isMissing || proof === null) return ignored('its resources are back already');
  return changed(job, proved(run, proof, nowMs));
}

function proved(run: RunState, proof: RunProof | null, nowMs: number): RunState {
  const state = isProved(proof) ? 'verified' : 'unverified';
  const receipt = { ...run.receipt, proof, provedAtMs: proof === null ? null : nowMs };
  return { ...run, receipt, teardown: run.teardown && { ...run.teardown, state } };
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
  const receipt = { ...run.receipt, fenced: { atMs: nowMs, reason } };
  const gone = { ...run, releasedAtMs: nowMs, endedAtMs: run.endedAtMs ?? nowMs, progress: null };
  const fenced = { ...gone, teardown, receipt };
  if (isTerminal(run.status)) return changed(job, fenced);
  if (run.status === 'CANCELLING') return changed(job, { ...fenced, status: 'CANCELLED' });
  if (run.status === 'FAILING') return changed(returnToPending(job, nowMs), { ...fenced, status: 'FAILED' });
  const lost: RunState = { ...fenced, status: 'FAILED', statusReason: reason, statusDetail: detail };
  return changed(failOrReplace(job, { nodeId: run.nodeId, text: reason, detail, nowMs }), lost);
}

function recordEnd(run: RunState, end: RunEnd, nowMs: number): RunState {
  const endedAtMs = run.startedAtMs === null ? end.endedAtMs : Math.max(end.endedAtMs, run.startedAtMs);
  const { exitCode, exitSignal, isOomKilled } = end;
  const receipt = withMark(run.receipt, 'exited', { atMs: nowMs, afterMs: null, text: null });
  return { ...run, endedAtMs, exitCode, exitSignal, isOomKilled, receipt };
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
