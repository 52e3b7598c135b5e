// One executor per kind of step: what the rules ask for, done against the runtime.
import { cleanUp, processesLeft } from './clean-up.ts';
import { sleep } from './clock.ts';
import { pullOrder } from './container-order.ts';
import type { ExecutorDeps } from './executor-deps.ts';
import { LogShipper } from './log-shipper.ts';
import type { Step, Work } from './next-steps.ts';
import { lastLines, runEvent } from './run-events.ts';
import {
  giveUp,
  newRecord,
  noteKilled,
  noteLogStored,
  observeGone,
  observeState,
  type RunRecord,
  tookStep,
} from './run-record.ts';
import type { ContainerState, Runtime } from './runtime.ts';
import { createAndStart, pull } from './start-run.ts';
import { toRunError, warn } from './step-failures.ts';

const inspectAgainMs = 1_000;
const lastLineCount = 10;

const sentences = {
  cancelled: 'The job run was stopped before its container started.',
  container_disappeared:
    'The container disappeared from the node before its end was seen: something else removed it, or the engine lost it.',
} as const;

/** Takes one step. Work goes on after the return and wakes the loop when it is done. */
export function execute(deps: ExecutorDeps, step: Step): void {
  const record = deps.records.get(step.runUuid);
  if (record === undefined) return;
  const { kind } = step;
  if (kind === 'report') report(deps, record, step.report);
  else if (kind === 'give_up') giveUpRun(deps, record, step.code);
  else if (kind in workers) startWork(deps, record, kind as Work);
  else changes[kind as Change](deps, record);
}

type Change = Exclude<Step['kind'], Work | 'report' | 'give_up'>;

/** Steps that are done on return, or that go on beside the run's work. */
const changes: Record<Change, (deps: ExecutorDeps, record: RunRecord) => void> = {
  inspect: startInspect,
  ship_logs: shipLogs,
  renew,
  abort_pull(_deps, record) {
    record.isPullAborted = true;
    record.pullAbort?.abort();
  },
  drain_logs(_deps, record) {
    record.log.state = 'draining';
    record.shipper?.drain();
  },
  forget({ forget, images }, record) {
    images.release(record.runUuid);
    forget(record);
  },
};

function giveUpRun(deps: ExecutorDeps, record: RunRecord, code: keyof typeof sentences): void {
  giveUp(record, { code, message: sentences[code] }, deps.clock.nowMs());
  deps.wake();
}

const workers: Record<Work, (deps: ExecutorDeps, record: RunRecord) => Promise<void>> = {
  pull,
  create_and_start: createAndStart,
  signal,
  kill,
  remove,
  kill_processes: killProcesses,
  clean_up: cleanUp,
};

function startWork(deps: ExecutorDeps, record: RunRecord, work: Work): void {
  record.work = work;
  workers[work](deps, record)
    .then(() => {
      if (endingWork.has(work)) record.trouble = null;
    })
    .catch((error: unknown) => {
      warn(deps, record, { error, action: work });
      if (endingWork.has(work)) noteTrouble(record, error);
    })
    .finally(() => {
      record.work = null;
      deps.wake();
    });
}

const endingWork: ReadonlySet<Work> = new Set(['kill', 'remove', 'kill_processes', 'clean_up']);

/** An engine that is away comes back, and one that is removing comes to an end: neither is a fault of the node. */
const harmless: ReadonlySet<string> = new Set(['engine_unreachable', 'removal_under_way']);

function noteTrouble(record: RunRecord, error: unknown): void {
  const { code, message } = toRunError(record, error);
  record.trouble = harmless.has(code) ? null : message;
}

async function signal(deps: ExecutorDeps, record: RunRecord): Promise<void> {
  if (record.containerId === null) return;
  const { runtime, clock } = deps;
  record.signalledAtMs = clock.nowMs();
  const signalName = record.stopSignal ?? record.desired?.container.stop_signal ?? 'SIGTERM';
  try {
    await runtime.signalContainer(record.containerId, signalName);
  } catch (error) {
    warn(deps, record, { error, action: `signal ${signalName}` });
    // A signal that the engine does not know must not cost the program its warning.
    if (signalName === 'SIGTERM') return;
    await runtime.signalContainer(record.containerId, 'SIGTERM');
  }
  record.isSignalled = true;
  tookStep(record, 'signalled', clock.nowMs());
}

async function kill({ runtime, clock }: ExecutorDeps, record: RunRecord): Promise<void> {
  if (record.containerId === null) return;
  countForce(record, clock.nowMs());
  await runtime.signalContainer(record.containerId, 'SIGKILL');
  noteKilled(record, clock.nowMs());
}

async function remove(deps: ExecutorDeps, record: RunRecord): Promise<void> {
  const { runtime, clock } = deps;
  if (record.containerId === null) return;
  countRemoval(record, clock.nowMs());
  await runtime.removeContainer(record.containerId);
  if (record.container === 'running') noteKilled(record, clock.nowMs());
  const leftCount = await runtime.killProcesses(record.containerId);
  if (leftCount !== null && leftCount > 0) throw processesLeft(leftCount);
  observeGone(record, clock.nowMs());
}

async function killProcesses(deps: ExecutorDeps, record: RunRecord): Promise<void> {
  const { runtime, clock } = deps;
  if (record.containerId === null) return;
  countRemoval(record, clock.nowMs());
  const leftCount = await runtime.killProcesses(record.containerId);
  record.needsInspect = true;
  if (leftCount === null) return;
  deps.log.warn(
    { run_uuid: record.runUuid, process_count: leftCount },
    'killed the container past its engine',
  );
  tookStep(record, 'cgroup_killed', clock.nowMs());
  if (leftCount > 0) throw processesLeft(leftCount);
  record.isKilled = true;
}

/** In the ladder of a living container they are rungs as well. */
function countRemoval(record: RunRecord, nowMs: number): void {
  if (record.container === 'running') countForce(record, nowMs);
  record.removal = { count: record.removal.count + 1, lastAtMs: nowMs };
  record.endingSinceMs ??= nowMs;
}

function countForce(record: RunRecord, nowMs: number): void {
  record.force = { count: record.force.count + 1, lastAtMs: nowMs };
  record.endingSinceMs ??= nowMs;
}

function startInspect(deps: ExecutorDeps, record: RunRecord): void {
  record.isInspecting = true;
  record.needsInspect = false;
  inspect(deps, record)
    .catch(async (error: unknown) => {
      warn(deps, record, { error, action: 'inspect' });
      await sleep(deps.clock, inspectAgainMs);
      record.needsInspect = true;
    })
    .finally(() => {
      record.isInspecting = false;
      deps.wake();
    });
}

async function inspect({ runtime, clock, engine }: ExecutorDeps, record: RunRecord): Promise<void> {
  if (record.containerId === null) return;
  const state = await runtime.inspectContainer(record.containerId);
  if (state === null) return observeGone(record, clock.nowMs());
  const lastLogLines = await readLastLines(runtime, record, state);
  // Before the start is told: its report carries image and ports.
  const asked = record.desired === null ? state.imageId : pullOrder(record.desired.container).image;
  record.image ??= await runtime.inspectImage(state.imageId, asked).catch(() => null);
  observeState(record, { state, lastLogLines, clock, explain: (end) => engine.explain(end) });
}

/** Of a run that fails, as part of the reason; the exit is told without them rather than late. */
async function readLastLines(runtime: Runtime, record: RunRecord, state: ContainerState): Promise<string> {
  const isSuccess = state.exitCode === 0 && record.error === null && record.ownStop === null;
  if (state.state !== 'exited' || record.hasExit || isSuccess) return '';
  const { containerId } = state;
  return runtime.readLastLines(containerId, lastLineCount).then(lastLines, () => '');
}

function shipLogs(deps: ExecutorDeps, record: RunRecord): void {
  if (record.containerId === null || record.desired === null) return;
  const shipper = new LogShipper({
    runtime: deps.runtime,
    clock: deps.clock,
    containerId: record.containerId,
    runUuid: record.runUuid,
    attempt: record.attempt,
    from: record.desired.log,
    send: deps.sendLog,
    onChange() {
      if (shipper.isDrained) record.log.state = 'drained';
      else if (record.log.state === 'drained') record.log.state = 'draining';
      record.log.isAcked = shipper.isAcknowledged;
      if (record.log.state === 'drained' && record.log.isAcked) noteLogStored(record, deps.clock.nowMs());
      deps.wake();
    },
  });
  record.shipper = shipper;
  record.log.state = 'shipping';
  void shipper.run();
  deps.wake();
}

function report(deps: ExecutorDeps, record: RunRecord, kind: keyof RunRecord['reports']): void {
  record.reports[kind] = 'queued';
  const { runUuid, attempt } = record;
  deps.outbox.add({ runUuid, attempt, kind, event: () => runEvent(kind, record, deps.clock.nowMs()) });
  if (kind === 'stuck') keepFromOthers(deps, record);
  if (kind !== 'released') return;
  record.shipper?.stop();
  deps.images.release(runUuid);
}

/** What does not end may use its GPUs; the server cordons the node. */
function keepFromOthers({ gpuGuard, log, refreshInventory }: ExecutorDeps, record: RunRecord): void {
  const reason = record.trouble ?? 'it does not end';
  log.error({ run_uuid: record.runUuid, attempt: record.attempt, reason }, 'a run does not end');
  gpuGuard.quarantine(record.runUuid, `job run ${record.runUuid} does not end: ${reason}`);
  // A later look tells it as well.
  void refreshInventory().catch(() => {});
}

function renew(deps: ExecutorDeps, record: RunRecord): void {
  const target = deps.targets.get(record.runUuid);
  if (target === undefined) return;
  record.shipper?.stop();
  deps.outbox.drop(record.runUuid);
  const renewed = newRecord(record.runUuid, target.attempt);
  renewed.desired = record.desired;
  deps.records.set(record.runUuid, renewed);
  deps.wake();
}
