// The rules of the agent: from what is and what is wanted to the next steps, pure.
//
// INVARIANTS
// - A stop is sticky and never followed by a start: `create_and_start` and `pull` come only from a `run` target.
// - A container is started once: after a start whose outcome is unknown, an inspect comes before anything else, and where
//   there is no container then, the run is given up: it may have run, and somebody removed it.
// - A container that ran is removed only after its exit report and its last log byte are acknowledged, or after
//   `logBoundMs` of connected waiting: else a killed agent would lose both. Kill list and orphans skip this.
// - `released` is reported only when the container is gone, a look at the machine after that found nothing of the run,
//   and nothing works on the run. A run that does not get there is `stuck` after `stuckAfterMs`, and goes on.
// - One piece of work at a time per run; only `abort_pull` overtakes it. Work always ends (every runtime call has a
//   timeout), else the run would stop moving: nothing else sets `work` back.
// - Nothing waits for a message that only a later step would cause: reports are due from what is, not from acks, save
//   removal, and removal has a bound. Waiting for an ack without that bound would deadlock with a silent server.
// - Steps already taken are visible in `current` (`work`, `reports`, ladder), so asking again gives no second one.
// - While a restored database waits for the admin's word (`isHeld`), only what the server names as its own is removed.
// - A target of an older attempt changes nothing; a newer attempt waits until the older container is gone.

export type RunTarget =
  | { kind: 'run'; attempt: number; mayStart: boolean }
  | { kind: 'stop'; attempt: number; graceMs: number; requestedAtMs: number }
  | { kind: 'kill'; attempt: number };

export type Work = 'pull' | 'create_and_start' | 'signal' | 'kill' | 'remove' | 'kill_processes' | 'clean_up';
export const reportKinds = [
  'running',
  'delivered',
  'signalled',
  'killed',
  'exited',
  'stuck',
  'released',
] as const;
export type ReportKind = (typeof reportKinds)[number];
export type ReportState = 'none' | 'queued' | 'acked';

/** What is known of one run; times are monotonic milliseconds. */
export interface RunCurrent {
  runUuid: string;
  attempt: number;
  container: 'absent' | 'created' | 'running' | 'exited';
  /** The engine was asked to start it: it may have run, whatever is seen of it. */
  isStartAsked: boolean;
  /** The engine said when it started: it ran. */
  hasStart: boolean;
  /** Exit code and times are read. */
  hasExit: boolean;
  /** Why it never ran or cannot go on. */
  error: { code: string; message: string } | null;
  needsInspect: boolean;
  isInspecting: boolean;
  work: Work | null;
  isPullAborted: boolean;
  isImageReady: boolean;
  /** The engine failed lately: no new start before. */
  retryAtMs: number;
  reports: Record<ReportKind, ReportState>;
  log: { state: 'idle' | 'shipping' | 'draining' | 'drained'; isAcked: boolean };
  /** The node itself decided to stop it; null while it has not. */
  ownStop: { sinceMs: number; graceMs: number } | null;
  endedAtMs: number | null;
  /** The stop ladder: signal once, then force again and again. */
  signalledAtMs: number | null;
  /** The engine took the signal, and the KILL. */
  isSignalled: boolean;
  isKilled: boolean;
  force: Tries;
  removal: Tries;
  /** Once the container is gone: what it left is removed, and it is looked whether anything is still there. */
  cleanUp: 'due' | 'done';
  cleaning: Tries;
  /** When force or removal began. */
  endingSinceMs: number | null;
  /** Why it does not end, as a sentence; null while nothing stands in its way, or the engine is merely away. */
  trouble: string | null;
  orphanSinceMs: number | null;
}

export interface Tries {
  count: number;
  lastAtMs: number;
}

export interface NodeCurrent {
  runs: Iterable<RunCurrent>;
  /** null while the control plane is away. */
  connectedSinceMs: number | null;
  /** The database was restored: nothing that the server does not name is removed, and nothing of its kill list. */
  isHeld?: boolean;
  /** Another bound than `stuckAfterMs`. */
  stuckAfterMs?: number;
}

export type Step = { runUuid: string } & (
  | { kind: Work }
  | { kind: 'abort_pull' | 'inspect' | 'ship_logs' | 'drain_logs' | 'renew' | 'forget' }
  | { kind: 'give_up'; code: 'cancelled' | 'container_disappeared' }
  | { kind: 'report'; report: ReportKind }
);

/** More at once only queue up inside the engine. */
export const maxStartsAtOnce = 4;
export const logBoundMs = 60_000;
export const orphanKeptMs = 15 * 60_000;
/** KILL and removal are tried again after this; an engine under load needs about one second. */
export const forceRetryMs = 2_000;
/** A program that hears of its stop after the grace is over gets this long. */
export const lateGraceMs = 2_000;
/** A teardown that takes longer, its grace apart, is a fault of the node; the server's deadline allows for as much. */
export const stuckAfterMs = 30_000;
const killsBeforeRemoval = 3;

/** The steps to take now, and when to look again if nothing happens before (null: never). */
export function nextSteps(
  current: NodeCurrent,
  targets: ReadonlyMap<string, RunTarget>,
  nowMs: number,
): { steps: Step[]; wakeAtMs: number | null } {
  const runs = [...current.runs];
  const look = new Look(current, nowMs);
  look.freeStarts = maxStartsAtOnce - runs.filter((run) => run.work === 'create_and_start').length;
  const steps = runs.flatMap((run) => stepsOfRun(run, targets.get(run.runUuid), look));
  return { steps, wakeAtMs: look.wakeAtMs };
}

/** One look at the node: its time, what is still free, and the earliest time that something becomes due. */
class Look {
  readonly nowMs: number;
  readonly connectedSinceMs: number | null;
  readonly stuckAfterMs: number;
  readonly isHeld: boolean;
  wakeAtMs: number | null = null;
  freeStarts = 0;

  constructor(current: NodeCurrent, nowMs: number) {
    this.nowMs = nowMs;
    this.connectedSinceMs = current.connectedSinceMs;
    this.stuckAfterMs = current.stuckAfterMs ?? stuckAfterMs;
    this.isHeld = current.isHeld ?? false;
  }

  isDue(atMs: number): boolean {
    if (this.nowMs >= atMs) return true;
    this.wakeAtMs = Math.min(this.wakeAtMs ?? atMs, atMs);
    return false;
  }
}

function stepsOfRun(run: RunCurrent, target: RunTarget | undefined, look: Look): Step[] {
  if (target === undefined) return stepsOfUnnamed(run, look);
  if (target.attempt < run.attempt) return [];
  if (target.attempt > run.attempt) return stepsOfSuperseded(run, look);
  if (target.kind === 'kill') return stepsOfKilled(run, look);
  if (run.reports.released === 'acked') return forget(run, look);
  return [
    ...(run.needsInspect && !run.isInspecting && run.container !== 'absent' ? [step(run, 'inspect')] : []),
    ...reportSteps(run, dueReports(run, target, look)),
    ...logSteps(run),
    ...workSteps(run, target, look),
  ];
}

function step(run: RunCurrent, kind: Exclude<Step['kind'], 'give_up' | 'report'>): Step {
  return { runUuid: run.runUuid, kind };
}

/** The end is known: it exited, or it never ran and never will. */
export function isEnded(run: RunCurrent): boolean {
  if (run.container === 'running') return false;
  return run.hasExit || run.error !== null;
}

function stepsOfUnnamed(run: RunCurrent, look: Look): Step[] {
  if (run.work === 'pull' && run.orphanSinceMs !== null) return abortPull(run);
  if (run.ownStop !== null && run.container === 'running') return ownLadder(run, run.ownStop, look);
  if (look.isHeld) return [];
  if (run.container === 'absent') return forget(run, look);
  if (run.orphanSinceMs === null || !look.isDue(run.orphanSinceMs + orphanKeptMs)) return [];
  return removal(run, look);
}

function stepsOfSuperseded(run: RunCurrent, look: Look): Step[] {
  if (run.work === 'pull') return abortPull(run);
  if (run.work === null && run.container === 'absent') {
    return run.cleanUp === 'due' ? cleanUp(run, look) : [step(run, 'renew')];
  }
  return removal(run, look);
}

/** Only that it is gone is told: the server knows its end, or gave it up. */
function stepsOfKilled(run: RunCurrent, look: Look): Step[] {
  if (run.work === 'pull') return abortPull(run);
  if (look.isHeld) return [];
  const stuck = isStuck(run, look) ? reportSteps(run, ['stuck']) : [];
  if (run.container !== 'absent') return [...stuck, ...removal(run, look)];
  if (run.work !== null) return [];
  if (run.cleanUp === 'due') return [...stuck, ...cleanUp(run, look)];
  return run.reports.released === 'acked' ? [step(run, 'forget')] : reportSteps(run, ['released']);
}

/** Each is reported once. */
function reportSteps({ runUuid, reports }: RunCurrent, kinds: readonly ReportKind[]): Step[] {
  return kinds
    .filter((kind) => reports[kind] === 'none')
    .map((report) => ({ runUuid, kind: 'report', report }));
}

function isStuck(run: RunCurrent, look: Look): boolean {
  const { trouble, endingSinceMs } = run;
  const hasEnded = run.container === 'absent' && run.cleanUp === 'done';
  if (trouble === null || endingSinceMs === null || hasEnded) return false;
  return look.isDue(endingSinceMs + look.stuckAfterMs);
}

function abortPull(run: RunCurrent): Step[] {
  return run.isPullAborted ? [] : [step(run, 'abort_pull')];
}

/** Nothing is left to do or to say; the loop remembers that it was, so that a stale message cannot start it again. */
function forget(run: RunCurrent, look: Look): Step[] {
  if (run.work !== null) return [];
  return run.cleanUp === 'due' ? cleanUp(run, look) : [step(run, 'forget')];
}

function dueReports(run: RunCurrent, target: RunTarget, look: Look): ReportKind[] {
  const isStopping = target.kind === 'stop';
  const ended = isEnded(run) && (run.hasStart || run.error !== null);
  const isDue: Record<ReportKind, boolean> = {
    running: run.hasStart,
    delivered: isStopping,
    signalled: isStopping && run.isSignalled,
    killed: isStopping && run.isKilled,
    exited: ended,
    stuck: isStuck(run, look),
    released:
      ended &&
      run.container === 'absent' &&
      run.cleanUp !== 'due' &&
      run.work === null &&
      mayForgetLog(run, look),
  };
  return reportKinds.filter((kind) => isDue[kind]);
}

function logSteps(run: RunCurrent): Step[] {
  if (!run.hasStart) return [];
  if (run.log.state === 'idle') return run.container === 'absent' ? [] : [step(run, 'ship_logs')];
  return run.log.state === 'shipping' && run.container !== 'running' ? [step(run, 'drain_logs')] : [];
}

function workSteps(run: RunCurrent, target: RunTarget & { kind: 'run' | 'stop' }, look: Look): Step[] {
  if (run.work !== null) return run.work === 'pull' && target.kind === 'stop' ? abortPull(run) : [];
  if (isEnded(run)) return removeEnded(run, look);
  if (run.container === 'exited') return [];
  if (target.kind === 'stop') return run.container === 'running' ? ladder(run, target, look) : [giveUp(run)];
  if (run.container === 'running') return run.ownStop === null ? [] : ownLadder(run, run.ownStop, look);
  return startSteps(run, target.mayStart, look);
}

/** As a stop, but only here: the control plane hears of it with the exit. */
function ownLadder(run: RunCurrent, { sinceMs, graceMs }: { sinceMs: number; graceMs: number }, look: Look) {
  if (run.work !== null) return [];
  return ladder(run, { kind: 'stop', attempt: run.attempt, graceMs, requestedAtMs: sinceMs }, look);
}

/** It has not started and must not: what was never there was cancelled, what had started is gone. */
function giveUp(run: RunCurrent): Step {
  return {
    runUuid: run.runUuid,
    kind: 'give_up',
    code: mayHaveRun(run) ? 'container_disappeared' : 'cancelled',
  };
}

/** Where no container is any more, nobody can tell whether the start was carried out. */
function mayHaveRun(run: RunCurrent): boolean {
  return run.hasStart || (run.isStartAsked && run.container === 'absent');
}

function startSteps(run: RunCurrent, mayStart: boolean, look: Look): Step[] {
  // Until it is known what became of the last start, another could run the program twice.
  if (!run.hasStart && (run.needsInspect || run.isInspecting)) return [];
  if (mayHaveRun(run) || !mayStart) {
    return [{ runUuid: run.runUuid, kind: 'give_up', code: 'container_disappeared' }];
  }
  if (!look.isDue(run.retryAtMs)) return [];
  if (run.container === 'absent' && !run.isImageReady) return [step(run, 'pull')];
  if (look.freeStarts <= 0) return [];
  look.freeStarts -= 1;
  return [step(run, 'create_and_start')];
}

/** signal -> grace -> KILL, three times -> remove and kill its processes by turns, without end. */
function ladder(run: RunCurrent, stop: RunTarget & { kind: 'stop' }, look: Look): Step[] {
  if (run.force.count > 0) {
    if (!look.isDue(run.force.lastAtMs + forceRetryMs)) return [];
    return [step(run, rungOf(run.force.count))];
  }
  if (stop.graceMs === 0) return [step(run, 'kill')];
  if (run.signalledAtMs === null) return [step(run, 'signal')];
  const graceEndsAtMs = Math.max(
    stop.requestedAtMs + stop.graceMs,
    run.signalledAtMs + Math.min(stop.graceMs, lateGraceMs),
  );
  return look.isDue(graceEndsAtMs) ? [step(run, 'kill')] : [];
}

function rungOf(forceCount: number): Work {
  if (forceCount < killsBeforeRemoval) return 'kill';
  return (forceCount - killsBeforeRemoval) % 2 === 0 ? 'remove' : 'kill_processes';
}

function removeEnded(run: RunCurrent, look: Look): Step[] {
  if (run.container === 'absent') return cleanUp(run, look);
  const isProved = run.container === 'created' || (run.reports.exited === 'acked' && isLogStored(run));
  return isProved || isBoundReached(run, look) ? removal(run, look) : [];
}

/** Removal by force, at once and again while it fails; every third try kills the processes past the engine. */
function removal(run: RunCurrent, look: Look): Step[] {
  if (run.work !== null) return [];
  const { count, lastAtMs } = run.removal;
  if (count > 0 && !look.isDue(lastAtMs + forceRetryMs)) return [];
  return [step(run, count % 3 === 2 ? 'kill_processes' : 'remove')];
}

function cleanUp(run: RunCurrent, look: Look): Step[] {
  if (run.cleanUp !== 'due' || run.work !== null) return [];
  const { count, lastAtMs } = run.cleaning;
  if (count > 0 && !look.isDue(lastAtMs + forceRetryMs)) return [];
  return [step(run, 'clean_up')];
}

function isLogStored(run: RunCurrent): boolean {
  if (!run.hasStart) return true;
  return run.log.state === 'drained' && run.log.isAcked;
}

function mayForgetLog(run: RunCurrent, look: Look): boolean {
  return run.log.state === 'idle' || isLogStored(run) || isBoundReached(run, look);
}

/** Only connected time counts: an agent that is alone keeps what it has. */
function isBoundReached(run: RunCurrent, look: Look): boolean {
  if (look.connectedSinceMs === null || run.endedAtMs === null) return false;
  return look.isDue(Math.max(run.endedAtMs, look.connectedSinceMs) + logBoundMs);
}
