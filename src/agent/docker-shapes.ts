// What the Docker Engine answers and wants, and our words for it.
import { fullReference } from '../domain/image-reference.ts';
import {
  type ContainerAddress,
  type ContainerSpec,
  type ContainerState,
  type ContainerSummary,
  type EngineDescription,
  type ImageState,
  labelNames,
} from './runtime.ts';
import type { ContainerPlaces } from './storage-usage.ts';

export interface EngineVersion {
  Version: string;
  ApiVersion: string;
  Components?: { Name: string }[];
}

export interface EngineInfo {
  Name?: string;
  NCPU: number;
  MemTotal: number;
  DockerRootDir?: string;
  Architecture: string;
  OperatingSystem: string;
  CgroupVersion?: string;
  SecurityOptions?: string[];
  Driver?: string;
  DriverStatus?: [string, string][] | null;
}

export interface ListedContainer {
  Id: string;
  State: string;
  Labels: Record<string, string>;
}

export interface ContainerInspect extends ContainerPlaces {
  Id: string;
  SizeRw?: number;
  Image: string;
  Config: { StopSignal?: string };
  State: {
    Status: string;
    Pid?: number;
    OOMKilled: boolean;
    ExitCode: number;
    StartedAt: string;
    FinishedAt: string;
    Health?: { Status: string } | null;
  };
  NetworkSettings?: {
    Networks?: Record<string, { IPAddress?: string; GlobalIPv6Address?: string } | null> | null;
  };
}

export interface ImageInspect {
  Id: string;
  RepoTags?: string[] | null;
  Architecture?: string;
  RepoDigests?: string[] | null;
  Size?: number;
  Config?: { ExposedPorts?: Record<string, object> | null } | null;
}

export function engineDescription(version: EngineVersion, info: EngineInfo): EngineDescription {
  const isPodman = version.Components?.some(({ Name }) => /podman/i.test(Name)) ?? false;
  return {
    name: isPodman ? 'podman' : 'docker',
    version: version.Version,
    apiVersion: version.ApiVersion,
    cpuCount: info.NCPU,
    ramBytes: info.MemTotal,
    dataRoot: info.DockerRootDir ?? null,
    architecture: info.Architecture,
    operatingSystem: info.OperatingSystem,
    cgroupVersion: info.CgroupVersion === '2' ? 2 : 1,
  };
}

/** null: the labels are not ours. */
export function containerSummary({ Id, State, Labels }: ListedContainer): ContainerSummary | null {
  const runUuid = Labels[labelNames.run];
  const attempt = Number(Labels[labelNames.attempt]);
  if (runUuid === undefined || !Number.isInteger(attempt) || attempt < 1) return null;
  return {
    containerId: Id,
    clusterUuid: Labels[labelNames.cluster] ?? '',
    runUuid,
    attempt,
    state: stateWord(State),
  };
}

export function containerState({ Id, Image, Config, State }: ContainerInspect): ContainerState {
  const state = stateWord(State.Status);
  const hasEnded = state === 'exited';
  return {
    containerId: Id,
    imageId: Image,
    state,
    startedAtMs: engineTime(State.StartedAt),
    endedAtMs: hasEnded ? engineTime(State.FinishedAt) : null,
    exitCode: hasEnded ? State.ExitCode : null,
    // The flag is also set when only a child was killed and the program went on.
    isOomKilled: hasEnded && State.OOMKilled && State.ExitCode !== 0,
    stopSignal: Config.StopSignal || 'SIGTERM',
  };
}

/** The first network that gave it an address; null: none did, or it is not running. */
export function containerAddress({ State, NetworkSettings }: ContainerInspect): ContainerAddress | null {
  const networks = Object.values(NetworkSettings?.Networks ?? {});
  const address = networks.map((network) => network?.IPAddress || network?.GlobalIPv6Address).find(Boolean);
  if (address === undefined || stateWord(State.Status) !== 'running') return null;
  const health = State.Health?.Status ?? 'none';
  return { address, isHealthy: health === 'none' ? null : health === 'healthy' };
}

/** `asked` is the name it was asked for by: one image may have a digest at each of several registries. */
export function imageState(
  { Id, RepoDigests, Size, Config, Architecture }: ImageInspect,
  asked: string,
): ImageState {
  const exposed = Object.keys(Config?.ExposedPorts ?? {}).filter((port) => !port.endsWith('/udp'));
  return {
    imageId: Id,
    digest: digestFor(asked, RepoDigests ?? []),
    architecture: Architecture || null,
    isFromRegistry: (RepoDigests ?? []).length > 0,
    sizeBytes: Size ?? 0,
    exposedPorts: exposed.map((port) => Number.parseInt(port, 10)).sort((a, b) => a - b),
  };
}

function digestFor(asked: string, repoDigests: readonly string[]): string | null {
  const nameOf = (reference: string) => fullReference(reference).replace(/(@.*|:[^/:]*)$/, '');
  const own = repoDigests.find((repoDigest) => nameOf(repoDigest) === nameOf(asked));
  return (own ?? repoDigests[0])?.split('@')[1] ?? null;
}

/** `restarting` and `paused` are not states that we cause; both have a living process. */
function stateWord(status: string): ContainerState['state'] {
  if (status === 'created' || status === 'configured' || status === 'initialized') return 'created';
  return status === 'exited' || status === 'dead' || status === 'removing' || status === 'stopped'
    ? 'exited'
    : 'running';
}

/** The engine writes year 1 where nothing has happened. */
function engineTime(text: string): number | null {
  const atMs = Date.parse(text);
  return Number.isNaN(atMs) || atMs <= 0 ? null : atMs;
}

export interface ContainerPlace {
  /** Null: the engine's default network. */
  networkName: string | null;
  /** The engine's filesystem can hold a container to a size. */
  hasQuota: boolean;
}

/**
 * Body of POST /containers/create. No privileged mode, no restart policy: the control plane decides on a next attempt.
 * The log files hold more than the 16 MiB that are kept of a run, JSON overhead of short lines included.
 */
export function createBody(spec: ContainerSpec, place: ContainerPlace): object {
  return {
    Image: spec.image,
    Labels: spec.labels,
    Env: Object.entries(spec.env).map(([name, value]) => `${name}=${value}`),
    ...(spec.command === null ? {} : { Cmd: spec.command }),
    ...(spec.entrypoint === null ? {} : { Entrypoint: spec.entrypoint }),
    ...(spec.stopSignal === null ? {} : { StopSignal: spec.stopSignal }),
    HostConfig: {
      // PID 1 ignores TERM unless it handles it; the init process passes it on and reaps zombies.
      Init: true,
      Memory: spec.memoryBytes,
      MemorySwap: spec.memoryBytes,
      CpuShares: spec.cpuShares,
      NanoCpus: Math.round(spec.cpuCount * 1e9),
      PidsLimit: spec.pidCount,
      ShmSize: spec.shmBytes,
      CapDrop: ['NET_RAW', 'MKNOD'],
      Privileged: false,
      IpcMode: 'private',
      ...(place.networkName === null ? {} : { NetworkMode: place.networkName }),
      ...(place.hasQuota ? { StorageOpt: { size: String(spec.storageBytes) } } : {}),
      Mounts: spec.volumes.map(({ name, mount }) => ({
        Type: 'volume',
        Source: name,
        Target: mount,
        // It holds its own tree; what the image has at that place stays out of it.
        VolumeOptions: { NoCopy: true },
      })),
      RestartPolicy: { Name: 'no' },
      LogConfig: { Type: 'json-file', Config: { 'max-size': '32m', 'max-file': '3' } },
      ...(spec.gpuUuids.length === 0
        ? {}
        : { DeviceRequests: [{ Driver: '', Count: 0, DeviceIDs: spec.gpuUuids, Capabilities: [['gpu']] }] }),
    },
  };
}
