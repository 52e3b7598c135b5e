// Volumes of runs: which images fill them, what they are called, and which of them are nobody's any more.
import type { ContainerOrder, DesiredRun } from '../protocol/agent-messages.ts';
import { type NodeIdentity, pullOrder, runLabels } from './container-order.ts';
import type { AgentLog } from './log.ts';
import { type PullOrder, type Runtime, RuntimeError, type VolumeMount, type VolumeOrder } from './runtime.ts';

type WantedVolume = ContainerOrder['volumes'][number];

export interface VolumePlan {
  mount: string;
  pull: PullOrder;
  /** `imageId` is known once the image is there. */
  order: (imageId: string) => VolumeOrder;
}

export function volumePlans(run: DesiredRun, identity: NodeIdentity): VolumePlan[] {
  return run.container.volumes.map((volume, index) => ({
    mount: volume.mount,
    pull: volumePull(volume),
    order: (imageId) => ({
      name: volumeName(run.run_uuid, index),
      labels: runLabels(run, identity),
      imageId,
    }),
  }));
}

export function volumeMounts(run: DesiredRun): VolumeMount[] {
  return run.container.volumes.map(({ mount }, index) => ({ name: volumeName(run.run_uuid, index), mount }));
}

/** The same failure, and which volume it is about. */
export function inVolume(mount: string, error: unknown): unknown {
  if (!(error instanceof RuntimeError)) return error;
  return new RuntimeError(error.code, `The volume at ${mount} could not be made: ${error.message}`, {
    isRetryable: error.isRetryable,
    ...(error.engineText === null ? {} : { engineText: error.engineText }),
    cause: error,
  });
}

/** Removes the volumes of runs that `isLive` does not know; how many runs had some. */
export async function sweepVolumes(options: {
  runtime: Runtime;
  identity: NodeIdentity;
  isLive: (runUuid: string) => boolean;
  log: AgentLog;
}): Promise<number> {
  const { runtime, identity, isLive, log } = options;
  const listed = await runtime.listVolumes(identity.nodeUuid);
  const stale = listed.filter(
    ({ runUuid, clusterUuid }) => clusterUuid === identity.clusterUuid && !isLive(runUuid),
  );
  for (const { runUuid } of stale) {
    await runtime.removeVolumes(runUuid);
    log.warn({ run_uuid: runUuid }, 'removed volumes of a run that is over');
  }
  return stale.length;
}

function volumeName(runUuid: string, index: number): string {
  return `flotilla-${runUuid}-${index}`;
}

function volumePull({ image, tag, registry, user, secret }: WantedVolume): PullOrder {
  return pullOrder({
    image,
    tag,
    registry_host: registry === '' ? null : registry,
    registry_user: user === '' ? null : user,
    registry_secret: secret === '' ? null : secret,
  });
}
