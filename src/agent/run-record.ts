// What the agent holds of one run, and how observations change it.
import type { DesiredRun, RunError } from '../protocol/agent-messages.ts';
import type { RunProof } from '../protocol/run-proof.ts';
import type { Clock } from './clock.ts';
import type { ContainerEnd } from './engine-health.ts';
import type { LogShipper } from './log-shipper.ts';
import { type RunCurrent, reportKinds } from './next-steps.ts';
import type { ContainerState, ContainerSummary, ImageState, PullProgress } from './runtime.ts';

export interface RunRecord extends RunCurrent {
  /** The server's last word about it; null while it named none. */
  desired: DesiredRun | null;
  containerId: string | null;
  stopSignal: string | null;
  /** When this life of the agent asked for its start; null: an earlier one did, or none. */
  startAskedAtMs: number | null;
  startedAtMs: number | null;
  ranMs: number | null;
  exitCode: number | null;
  isOomKilled: boolean;
  lastLogLines: string;
  /** With the reason of its end, once that comes. */
  ownStop: { sinceMs: number; graceMs: number; error: RunError } | null;
  image: ImageState | null;
  progress: PullMeterReading | null;
  pullAbort: AbortController | null;
  shipper: LogShipper | null;
  /** First failure of the engine in a row; null while it answers. */
  engineFailingSinceMs: number | null;
  /** This life of the agent was there from before its end: what it did not see did not happen. */
  isWitness: boolean;
  /** What was seen when everything was gone. */
  proof: RunProof | null;
  teardown: TeardownLine[];
  teardownSinceMs: number | null;
}

/** A line of the receipt: how long after the first of them. */
export interface TeardownLine {
  step: string;
  tookMs: number;
}

export interface PullMeterReading extends PullProgress {
  bytesPerSecond: number | null;
  etaMs: number | null;
}

export function newRecord(runUuid: string, attempt: number): RunRecord {
  return {
    runUuid,
    attempt,
    container: 'absent',
    isStartAsked: false,
    hasStart: false,
    hasExit: false,
    error: null,
    needsInspect: false,
    isInspecting: false,
    work: null,
    isPullAborted: false,
    isImageReady: false,
    retryAtMs: 0,
    reports: noReports(),
    log: { state: 'idle', isAcked: false },
    ownStop: null,
    endedAtMs: null,
    signalledAtMs: null,
    isSignalled: false,
    isKilled: false,
    force: { count: 0, lastAtMs: 0 },
    removal: { count: 0, lastAtMs: 0 },
    cleanUp: 'due',
    cleaning: { count: 0, lastAtMs: 0 },
    endingSinceMs: null,
    trouble: null,
    orphanSinceMs: null,
    desired: null,
    containerId: null,
    stopSignal: null,
    startAskedAtMs: null,
    startedAtMs: null,
    ranMs: null,
    exitCode: null,
    isOomKilled: false,
    lastLogLines: '',
    image: null,
    progress: null,
    pullAbort: null,
    shipper: null,
    engineFailingSinceMs: null,
    isWitness: false,
    proof: null,
    teardown: [],
    teardownSinceMs: null,
  };
}

function noReports(): RunRecord['reports'] {
  const states = reportKinds.map((kind) => [kind, 'none'] as const);
  return Object.fromEntries(states) as RunRecord['reports'];
}

const rank = { absent: 0, created: 1, running: 2, exited: 3 } as const;

/** A list shows it: the state only goes forward, since a list may be older than what was seen since. */
export function observeListed(record: RunRecord, listed: ContainerSummary): void {
  record.containerId = listed.containerId;
  const isNews = rank[listed.state] > rank[record.container];
  if (isNews) record.container = listed.state;
  record.cleanUp = 'due';
  const isUnknown =
    (record.container === 'running' && !record.hasStart) ||
    (record.container === 'exited' && !record.hasExit);
  if (isNews || isUnknown) record.needsInspect = true;
}

export interface SeenState {
  state: ContainerState;
  /** Read with the exit. */
  lastLogLines: string;
  clock: Clock;
  /** The reason of an end that nobody asked for, where the engine or the machine is it. */
  explain: (end: ContainerEnd) => RunError | null;
}

export function observeState(record: RunRecord, { state, lastLogLines, clock, explain }: SeenState): void {
  record.containerId = state.containerId;
  if (rank[state.state] >= rank[record.container]) record.container = state.state;
  record.stopSignal = state.stopSignal;
  if (state.startedAtMs !== null) observeStart(record, state.startedAtMs, clock);
  if (state.state !== 'exited' || record.hasExit) return;
  record.hasExit = true;
  // What its end would tell by itself is known by now.
  record.needsInspect = false;
  record.trouble = null;
  record.exitCode = state.exitCode;
  record.isOomKilled = state.isOomKilled;
  // The engine answers a KILL only when the container is dead, which is seen sooner.
  if (record.work === 'kill' && state.exitCode === killedExitCode) noteKilled(record, clock.nowMs());
  record.lastLogLines = lastLogLines;
  record.ranMs = ranMs(state);
  record.endedAtMs = endOf(record, state, clock);
  const end = { ...record, exitCode: state.exitCode, endedAtMs: record.endedAtMs };
  record.error ??=
    ownReason(record, record.endedAtMs) ??
    (isStopping(record) ? null : explain(end)) ??
    initError(lastLogLines, record.image);
  tookStep(record, 'exited', clock.nowMs());
}

/** An end that came before the node decided was the program's own. */
function ownReason({ ownStop }: RunRecord, endedAtMs: number): RunError | null {
  return ownStop !== null && endedAtMs >= ownStop.sinceMs ? ownStop.error : null;
}

function isStopping({ desired, signalledAtMs, isKilled }: RunRecord): boolean {
  return desired?.desired === 'stop' || signalledAtMs !== null || isKilled;
}

/** 128 + SIGKILL. */
const killedExitCode = 137;

const architectureMessage =
  "The container's program was built for another processor; use an image for this node's architecture.";

/** Node's word for a processor to the images' one. */
const architectures: Readonly<Record<string, string>> = { x64: 'amd64', arm64: 'arm64' };

function isForeign(image: ImageState | null): boolean {
  const own = architectures[process.arch];
  return image !== null && own !== undefined && image.architecture !== null && image.architecture !== own;
}

/** With an init process the engine starts that, and it is the init that does not find the program. */
function initError(lastLogLines: string, image: ImageState | null): RunError | null {
  const match = /^\[FATAL tini \(\d+\)\] exec (.+) failed: (.+)$/m.exec(lastLogLines);
  if (match === null) return null;
  const [, program = '', reason = ''] = match;
  // Without a shell in the image the init says that there is no such file.
  if (/exec format error/i.test(reason) || isForeign(image))
    return { code: 'image_platform_mismatch', message: architectureMessage };
  const message = `The container's program "${program}" cannot be run (${reason}); check command, entrypoint and image.`;
  return { code: 'bad_command', message };
}

function observeStart(record: RunRecord, startedAtMs: number, clock: Clock): void {
  if (record.hasStart) return;
  record.hasStart = true;
  record.startedAtMs = Math.max(monotonic(startedAtMs, clock), record.startAskedAtMs ?? -Infinity);
}

function ranMs({ startedAtMs, endedAtMs }: ContainerState): number | null {
  if (startedAtMs === null || endedAtMs === null) return null;
  return Math.max(0, Math.round(endedAtMs - startedAtMs));
}

/** An end that the clocks put before the start was read over a jump: then what the engine says it ran counts. */
function endOf(record: RunRecord, state: ContainerState, clock: Clock): number {
  const endedAtMs = monotonic(state.endedAtMs, clock);
  const { startedAtMs, ranMs } = record;
  if (startedAtMs === null || endedAtMs >= startedAtMs) return endedAtMs;
  return Math.min(startedAtMs + (ranMs ?? 0), clock.nowMs());
}

/** The engine's wall time as monotonic time, read while both clocks are at hand; never in the future. */
function monotonic(wallAtMs: number | null, clock: Clock): number {
  return clock.nowMs() - Math.max(0, clock.wallMs() - (wallAtMs ?? clock.wallMs()));
}

export function observeGone(record: RunRecord, nowMs: number): void {
  if (record.container === 'absent') return;
  record.container = 'absent';
  record.needsInspect = false;
  record.trouble = null;
  if (record.teardownSinceMs !== null || isOver(record)) tookStep(record, 'removed', nowMs);
}

function isOver(record: RunRecord): boolean {
  return record.hasExit || record.error !== null;
}

export function giveUp(record: RunRecord, error: RunError, nowMs: number): void {
  record.error = error;
  record.endedAtMs ??= nowMs;
}

export function noteKilled(record: RunRecord, nowMs: number): void {
  if (!record.isKilled) tookStep(record, 'killed', nowMs);
  record.isKilled = true;
}

export function noteLogStored(record: RunRecord, nowMs: number): void {
  if (!record.teardown.some(({ step }) => step === 'log_stored')) tookStep(record, 'log_stored', nowMs);
}

/** The server's word about the run; the first one shows whether this agent can have missed something of its end. */
export function observeOrder(record: RunRecord, run: DesiredRun, nowMs: number): void {
  record.containerId ??= run.container_id ?? null;
  if (record.desired === null) record.isWitness = run.desired === 'run' || record.containerId === null;
  const isFirstStop = run.desired === 'stop' && record.desired?.desired !== 'stop';
  if (isFirstStop) tookStep(record, 'delivered', nowMs);
  record.desired = run;
  record.orphanSinceMs = null;
}

export function tookStep(record: RunRecord, step: string, nowMs: number): void {
  if (record.teardown.length >= 60) return;
  record.teardownSinceMs ??= nowMs;
  record.teardown.push({ step, tookMs: Math.max(0, Math.round(nowMs - record.teardownSinceMs)) });
}
