// The way to a running container: image and volumes, creation, GPUs, one start; and what becomes of a run when that fails.
import { processesLeft } from './clean-up.ts';
import { containerSpec } from './container-order.ts';
import { engineRestarted } from './engine-health.ts';
import type { ExecutorDeps } from './executor-deps.ts';
import { runEvent } from './run-events.ts';
import { prepareRun } from './run-preparation.ts';
import { giveUp, type RunRecord } from './run-record.ts';
import { RuntimeError } from './runtime.ts';
import { toRunError, warn } from './step-failures.ts';
import { volumeMounts } from './volumes.ts';

/** An engine that does not answer is waited for this long before a run fails for it; a restart takes ten seconds. */
const engineFailureMs = 30_000;
const engineRetryMs = 1_000;

/** An engine that is away is waited for; any other failure ends the run. */
async function failStart(deps: ExecutorDeps, record: RunRecord, error: unknown): Promise<void> {
  const nowMs = deps.clock.nowMs();
  warn(deps, record, { error, action: 'start' });
  if (error instanceof RuntimeError && error.isRetryable) {
    record.engineFailingSinceMs ??= nowMs;
    if (nowMs - record.engineFailingSinceMs < engineFailureMs) {
      record.retryAtMs = nowMs + engineRetryMs;
      return;
    }
  }
  // The engine may have begun; what is told as over must be, since another run of the job may follow at once.
  if (record.isStartAsked && record.containerId !== null) {
    const leftCount = await deps.runtime.killProcesses(record.containerId);
    record.retryAtMs = deps.clock.nowMs() + engineRetryMs;
    if (leftCount !== null && leftCount > 0) throw processesLeft(leftCount);
  }
  giveUp(record, toRunError(record, error), deps.clock.nowMs());
}

export async function pull(deps: ExecutorDeps, record: RunRecord): Promise<void> {
  if (record.desired === null) return;
  const abort = new AbortController();
  record.pullAbort = abort;
  record.isPullAborted = false;
  try {
    record.image = await prepareRun(deps, record.desired, {
      onProgress: (progress) => reportProgress(deps, record, progress),
      signal: abort.signal,
    });
    record.isImageReady = true;
    record.engineFailingSinceMs = null;
  } catch (error) {
    if (!abort.signal.aborted) await failStart(deps, record, error);
  } finally {
    record.pullAbort = null;
  }
}

function reportProgress(deps: ExecutorDeps, record: RunRecord, progress: RunRecord['progress']): void {
  record.progress = progress;
  const { runUuid, attempt } = record;
  const event = () => runEvent('preparing', record, deps.clock.nowMs());
  deps.outbox.add({ runUuid, attempt, kind: 'preparing', event });
}

export async function createAndStart(deps: ExecutorDeps, record: RunRecord): Promise<void> {
  try {
    if (record.container === 'absent') await create(deps, record);
    if (record.containerId !== null) await claimGpus(deps, record);
    // A stop that came meanwhile must not be followed by a start.
    const isWanted = deps.targets.get(record.runUuid)?.kind === 'run' && record.error === null;
    if (record.containerId === null || !isWanted) return;
    await startOnce(deps, record, record.containerId);
    record.container = record.container === 'created' ? 'running' : record.container;
    record.engineFailingSinceMs = null;
  } catch (error) {
    await failStart(deps, record, error);
  }
  // Not awaited as work: a stop may overtake it. It also finds what ended before its events were heard.
  record.needsInspect = record.containerId !== null;
}

/** An engine that was killed while it started a container may know nothing of a program that ran. */
async function startOnce(
  { runtime, clock }: ExecutorDeps,
  record: RunRecord,
  containerId: string,
): Promise<void> {
  const hasTraces = record.isStartAsked && ((await runtime.readUsage?.(containerId)) ?? null) !== null;
  if (hasTraces) throw new RuntimeError(engineRestarted.code, engineRestarted.message);
  record.isStartAsked = true;
  record.startAskedAtMs = clock.nowMs();
  await runtime.startContainer(containerId);
}

async function claimGpus(deps: ExecutorDeps, record: RunRecord): Promise<void> {
  const gpuUuids = record.desired?.gpu_uuids ?? [];
  if (gpuUuids.length === 0) return;
  try {
    await deps.gpuGuard.begin(record.runUuid, gpuUuids);
  } catch (error) {
    // The server does not know of it, or it would not have placed the run there.
    await deps.refreshInventory().catch(() => {});
    throw error;
  }
}

async function create(deps: ExecutorDeps, record: RunRecord): Promise<void> {
  if (record.desired === null || record.image === null) return;
  const spec = containerSpec(record.desired, {
    identity: deps.identity(),
    inventory: deps.inventory(),
    imageId: record.image.imageId,
    volumes: volumeMounts(record.desired),
  });
  try {
    record.containerId = await deps.runtime.createContainer(spec);
    record.container = 'created';
    deps.images.release(record.runUuid);
  } catch (error) {
    // An earlier life of this agent made it, or an answer was lost: the list will show it.
    if (error instanceof RuntimeError && error.code === 'name_taken') await deps.resync();
    throw error;
  }
}
