// From a desired run to the container that is to exist: name, labels, image, limits.
import { containerLimits } from '../domain/container-limits.ts';
import type { ContainerOrder, DesiredRun, Inventory } from '../protocol/agent-messages.ts';
import { type ContainerSpec, labelNames, type PullOrder, type VolumeMount } from './runtime.ts';
import { limitOf } from './storage-limit.ts';

const sshPort = 22;
const maxPortCount = 256;

export interface NodeIdentity {
  clusterUuid: string;
  nodeUuid: string;
}

export function containerName(runUuid: string): string {
  return `flotilla-${runUuid}`;
}

/** The part of an order that says which image, and whose word opens it. */
export type ImageOrder = Pick<
  ContainerOrder,
  'image' | 'tag' | 'registry_host' | 'registry_user' | 'registry_secret'
>;

/** `host/image:tag`, as the engine wants it. A tag or digest inside the image stands. */
export function imageReference({ image, tag, registry_host }: ImageOrder): string {
  const host = registry_host?.replace(/^https?:\/\//, '').replace(/\/+$/, '') ?? '';
  const path = host === '' || image.startsWith(`${host}/`) ? image : `${host}/${image}`;
  const lastPart = path.slice(path.lastIndexOf('/') + 1);
  if (lastPart.includes('@') || lastPart.includes(':')) return path;
  if (tag.startsWith('sha256:')) return `${path}@${tag}`;
  return `${path}:${tag === '' ? 'latest' : tag}`;
}

export function pullOrder(order: ImageOrder): PullOrder {
  const { registry_user, registry_secret, registry_host } = order;
  const credentials =
    registry_secret === null
      ? null
      : { user: registry_user ?? '', secret: registry_secret, host: registry_host ?? '' };
  return { image: imageReference(order), credentials };
}

/** What must never leave the node in a text. */
export function secretsOf({ registry_secret, env, volumes }: ContainerOrder): string[] {
  const registrySecrets = [registry_secret ?? '', ...volumes.map((volume) => volume.secret)];
  return [...registrySecrets, ...Object.values(env)].filter((secret) => secret !== '');
}

/** Container ports to publish: the order's, else the image's EXPOSE list; 22 where there is an SSH key. */
export function publishedPorts(order: ContainerOrder | undefined, exposedPorts: readonly number[]): number[] {
  const ports = order?.ports ?? exposedPorts;
  return [...new Set(order?.has_ssh ? [...ports, sshPort] : ports)].slice(0, maxPortCount);
}

export function runLabels(run: DesiredRun, identity: NodeIdentity): Record<string, string> {
  return {
    [labelNames.cluster]: identity.clusterUuid,
    [labelNames.node]: identity.nodeUuid,
    [labelNames.run]: run.run_uuid,
    [labelNames.job]: run.job_uuid,
    [labelNames.attempt]: String(run.attempt),
  };
}

export interface ContainerPlace {
  identity: NodeIdentity;
  inventory: Inventory;
  /** The image that the run was given: its name may stand for another by now. */
  imageId: string;
  volumes: readonly VolumeMount[];
}

export function containerSpec(run: DesiredRun, place: ContainerPlace): ContainerSpec {
  const { container } = run;
  const { identity, inventory, imageId, volumes } = place;
  const limits = containerLimits(
    { cpuCount: run.cpu_count, ramBytes: run.ram_bytes, gpuCount: run.gpu_uuids.length },
    { cpuCount: inventory.cpu_count, ramBytes: inventory.ram_bytes, gpuCount: inventory.gpus.length },
  );
  return {
    ...limits,
    name: containerName(run.run_uuid),
    labels: runLabels(run, identity),
    image: imageId,
    env: container.env,
    command: container.command,
    entrypoint: container.entrypoint,
    stopSignal: container.stop_signal,
    storageBytes: limitOf(run, inventory),
    gpuUuids: run.gpu_uuids,
    volumes,
  };
}
