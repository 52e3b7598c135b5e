// The port between the agent and what runs containers: as narrow as the loop needs, so that others can stand behind it.
import type { LogStream } from '../protocol/agent-messages.ts';
import type { UsageReading } from './machine-load.ts';

export interface EngineDescription {
  name: string;
  version: string;
  apiVersion: string;
  cpuCount: number;
  ramBytes: number;
  /** Folder that holds images and containers; null when it is not on this machine. */
  dataRoot: string | null;
  architecture: string;
  operatingSystem: string;
  cgroupVersion: 1 | 2;
}

export interface ContainerSummary {
  containerId: string;
  clusterUuid: string;
  runUuid: string;
  attempt: number;
  state: 'created' | 'running' | 'exited';
}

/** Times are the engine's epoch milliseconds; null where it has not happened. */
export interface ContainerState {
  containerId: string;
  imageId: string;
  state: 'created' | 'running' | 'exited';
  startedAtMs: number | null;
  endedAtMs: number | null;
  exitCode: number | null;
  isOomKilled: boolean;
  /** The order's signal, else the image's, else SIGTERM. */
  stopSignal: string;
}

export interface ImageState {
  imageId: string;
  /** `sha256:…` as the registry knows it; null for an image that never saw one. */
  digest: string | null;
  sizeBytes: number;
  /** TCP ports of its EXPOSE list, ascending. */
  exposedPorts: readonly number[];
  /** `amd64`, `arm64` …; null where the image does not say. */
  architecture: string | null;
  /** It carries a registry's digest; an imported one does not. */
  isFromRegistry: boolean;
}

export interface ContainerSpec {
  name: string;
  labels: Readonly<Record<string, string>>;
  image: string;
  env: Readonly<Record<string, string>>;
  command: readonly string[] | null;
  entrypoint: readonly string[] | null;
  stopSignal: string | null;
  memoryBytes: number;
  cpuShares: number;
  cpuCount: number;
  shmBytes: number;
  pidCount: number;
  /** At most so much disk, where the engine can hold a container to it. */
  storageBytes: number;
  gpuUuids: readonly string[];
  volumes: readonly VolumeMount[];
}

export interface VolumeMount {
  name: string;
  mount: string;
}

/** A volume to be made, with the file tree of an image in it. */
export interface VolumeOrder {
  name: string;
  labels: Readonly<Record<string, string>>;
  imageId: string;
}

export interface VolumeOptions {
  onProgress: (copiedBytes: number) => void;
  signal: AbortSignal;
}

/** A run that has volumes. */
export interface VolumeSummary {
  runUuid: string;
  /** null: the engine lost what it was told of it, and its name alone says whose it is. */
  clusterUuid: string | null;
}

/** The network that containers of runs are put on. */
export interface NetworkOrder {
  name: string;
  bridge: string;
}

export interface PullOrder {
  image: string;
  credentials: { user: string; secret: string; host: string } | null;
}

export interface PullProgress {
  phase: 'pulling' | 'extracting';
  receivedBytes: number;
  totalBytes: number | null;
}

/** One entry as the container wrote it; `timestamp` is RFC 3339 with nanoseconds, fixed width, UTC. */
export interface LogEntry {
  stream: LogStream;
  timestamp: string;
  bytes: Buffer;
}

export interface LogRequest {
  containerId: string;
  /** Entries from this timestamp on; null from the first. */
  since: string | null;
  /** Goes on as the container writes, until it ends. */
  isFollowing: boolean;
  signal: AbortSignal;
}

/** Thrown by every call: a stable code, a sentence, and whether trying again may help. */
export class RuntimeError extends Error {
  readonly code: string;
  readonly isRetryable: boolean;
  /** What the engine said, unredacted: it may quote env values or credentials. */
  readonly engineText: string | null;

  constructor(
    code: string,
    message: string,
    options: { isRetryable?: boolean; engineText?: string; cause?: unknown } = {},
  ) {
    super(message, { cause: options.cause });
    this.name = 'RuntimeError';
    this.code = code;
    this.isRetryable = options.isRetryable ?? false;
    this.engineText = options.engineText ?? null;
  }
}

export interface ContainerAddress {
  address: string;
  /** What the image's health check says; null where it has none. */
  isHealthy: boolean | null;
}

/** Every call ends within a bounded time. Calls about a container that is gone resolve as done, or with null. */
export interface Runtime {
  describe(): Promise<EngineDescription>;
  /** Containers with the label `flotilla.node` of this node, whatever their cluster. */
  listContainers(nodeUuid: string): Promise<ContainerSummary[]>;
  /** Calls `onChange` with the run of each container that ended; settles when the stream breaks. */
  watchContainers(nodeUuid: string, options: WatchOptions): Promise<void>;
  inspectContainer(containerId: string): Promise<ContainerState | null>;
  /** By name or id; `asked` is the name whose digest is wanted, where that is another. */
  inspectImage(image: string, asked?: string): Promise<ImageState | null>;
  pullImage(order: PullOrder, options: PullOptions): Promise<void>;
  /** Takes the name away, and the image with its last name; an id only when it has no name. */
  removeImage(nameOrId: string): Promise<'removed' | 'in_use'>;
  /** Makes the volume anew and fills it; before the container that mounts it is created. */
  fillVolume(order: VolumeOrder, options: VolumeOptions): Promise<void>;
  listVolumes(nodeUuid: string): Promise<VolumeSummary[]>;
  /** Its container must be gone. */
  removeVolumes(runUuid: string): Promise<void>;
  createContainer(spec: ContainerSpec): Promise<string>;
  startContainer(containerId: string): Promise<void>;
  signalContainer(containerId: string, signalName: string): Promise<void>;
  /** Kills and removes, whatever the state. */
  removeContainer(containerId: string): Promise<void>;
  /**
   * Kills what is left in the container's cgroup, past the engine; how many processes still live after it, null when the
   * engine's processes cannot be seen from here.
   */
  killProcesses(containerId: string): Promise<number | null>;
  /** Takes its place on the node's network from a container that was removed; false: it keeps it. */
  leaveNetwork?(containerId: string): Promise<boolean>;
  /** Where programs of this machine reach the container's ports; null while it has no address of its own. */
  containerAddress(containerId: string): Promise<ContainerAddress | null>;
  readLogs(request: LogRequest): AsyncIterable<readonly LogEntry[]>;
  /** The end of both streams, at most `lineCount` lines of each, in order of time. */
  readLastLines(containerId: string, lineCount: number): Promise<string>;
  /** Makes the network unless it exists; containers made from then on join it. The name of its bridge. */
  joinNetwork?(order: NetworkOrder): Promise<string>;
  /** Calls `onChange` when the engine changed a network or its settings; settles when the stream breaks. */
  watchNetworks?(options: { onChange: () => void; signal: AbortSignal }): Promise<void>;
  /** Bytes of the container's writable layer and volumes on disk; null when it is gone. */
  measureStorage?(containerId: string): Promise<number | null>;
  /** What the container used so far; null when it cannot be seen from here, or is gone. */
  readUsage?(containerId: string): Promise<UsageReading | null>;
}

export interface WatchOptions {
  onReady: () => void;
  onChange: (runUuid: string) => void;
  signal: AbortSignal;
}

export interface PullOptions {
  onProgress: (progress: PullProgress) => void;
  signal: AbortSignal;
}

export const labelNames = {
  cluster: 'flotilla.cluster',
  node: 'flotilla.node',
  run: 'flotilla.run',
  job: 'flotilla.job',
  attempt: 'flotilla.attempt',
  /** Of containers that never run: the run whose volume they help to fill. */
  volumeOf: 'flotilla.volume-of',
} as const;
