// Everything a run's container needs before it can be created: its image, and its volumes filled from theirs.
import type { DesiredRun } from '../protocol/agent-messages.ts';
import type { Clock } from './clock.ts';
import { type NodeIdentity, pullOrder } from './container-order.ts';
import type { Images } from './images.ts';
import { PreparationMeter } from './images-progress.ts';
import type { PullMeterReading } from './run-record.ts';
import type { ImageState, Runtime } from './runtime.ts';
import { inVolume, type VolumePlan, volumePlans } from './volumes.ts';

export interface PreparationDeps {
  runtime: Runtime;
  clock: Clock;
  images: Images;
  identity: () => NodeIdentity;
}

export interface PreparationOptions {
  /** null: a registry was asked, and nothing came yet. */
  onProgress: (reading: PullMeterReading | null) => void;
  signal: AbortSignal;
}

/** The run's image; throws RuntimeError, or the signal's reason. */
export async function prepareRun(
  deps: PreparationDeps,
  run: DesiredRun,
  { onProgress, signal }: PreparationOptions,
): Promise<ImageState> {
  const meter = new PreparationMeter(deps.clock, onProgress);
  const image = await deps.images.acquire(pullOrder(run.container), {
    runUuid: run.run_uuid,
    onProgress: (progress) => meter.push(progress),
    signal,
  });
  for (const plan of volumePlans(run, deps.identity())) {
    try {
      await prepareVolume(deps, plan, { runUuid: run.run_uuid, meter, signal });
    } catch (error) {
      signal.throwIfAborted();
      throw inVolume(plan.mount, error);
    }
  }
  return image;
}

async function prepareVolume(
  { images, runtime }: PreparationDeps,
  plan: VolumePlan,
  { runUuid, meter, signal }: { runUuid: string; meter: PreparationMeter; signal: AbortSignal },
): Promise<void> {
  meter.beginPart();
  const onProgress: Parameters<Images['acquire']>[1]['onProgress'] = (progress) => meter.push(progress);
  const { imageId } = await images.acquire(plan.pull, { runUuid, onProgress, signal });
  meter.beginPart();
  await runtime.fillVolume(plan.order(imageId), {
    onProgress: (copiedBytes) =>
      meter.push({ phase: 'extracting', receivedBytes: copiedBytes, totalBytes: null }),
    signal,
  });
}
