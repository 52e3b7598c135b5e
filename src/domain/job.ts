// The job: what a consumer asked for, and the words of its life.
import type { Budget } from './budget.ts';

export const jobTasks = ['BATCH', 'PERSISTENT'] as const;
export type JobTask = (typeof jobTasks)[number];

export const jobStatuses = ['PENDING', 'ASSIGNED', 'RUNNING', 'COMPLETED', 'FAILED', 'CANCELLED'] as const;
export type JobStatus = (typeof jobStatuses)[number];

export const terminalStatuses = ['COMPLETED', 'FAILED', 'CANCELLED'] as const;
export type TerminalStatus = (typeof terminalStatuses)[number];

/** Whether a job goes on elsewhere when its node is lost, or fails. */
export const nodeLossPolicies = ['fail', 'replace'] as const;
export type NodeLossPolicy = (typeof nodeLossPolicies)[number];

/** What a node must offer for a job to be placed on it; `*Gb` are 10^9 bytes, 0 is no minimum. */
export interface Requirements {
  cpuCount: number;
  gpuCount: number;
  minRamGb: number;
  minStorageGb: number;
  minVramGb: number;
  gpuName: string | null;
  gpuRegistryUuid: string | null;
  /** Empty: any region. */
  allowedRegionCodes: readonly string[];
  /** Ports of the gateway that it names itself; its image may expose more. Absent: 0. */
  publicPortCount?: number;
}

export interface VolumeSpec {
  image: string;
  tag: string;
  registry: string;
  user: string;
  secret: string;
  mount: string;
}

/** What runs in the container. Empty strings of the wire are null here. */
export interface ContainerSpec {
  image: string;
  tag: string;
  host: string | null;
  user: string | null;
  secret: string | null;
  imagesrc: string | null;
  /** null: the image's EXPOSE list; empty: none. */
  ports: readonly number[] | null;
  env: Readonly<Record<string, string>>;
  /** Names of env variables whose value came from a secret input: never shown again. */
  secretEnvNames?: readonly string[];
  sshkey: string | null;
  allowedIps: readonly string[];
  volumes: readonly VolumeSpec[];
  command: readonly string[] | null;
  entrypoint: readonly string[] | null;
  stopSignal: string | null;
  stopGraceMs: number | null;
}

/** Everything of a job that never changes after submit. Durations in milliseconds. */
export interface JobSpec {
  task: JobTask;
  title: string;
  description: string | null;
  requirements: Requirements;
  container: ContainerSpec;
  maxTimeoutAssignMs: number;
  maxTimeoutStartMs: number;
  /** The start timeout counts from the last byte of image or volume that moved. */
  startTimeoutWaitsForPull: boolean;
  /** null: no limit (always so for PERSISTENT). */
  maxTimeoutRunMs: number | null;
  maxRetryCount: number;
  maxNodeCount: number;
  /** null, as for every BATCH job: replaced where it may be retried at all. */
  onNodeLost: NodeLossPolicy | null;
  budget: Budget;
  labels: Readonly<Record<string, string>>;
  priority: number;
}

export function isTerminal(status: JobStatus | JobRunStatus): status is TerminalStatus {
  return status === 'COMPLETED' || status === 'FAILED' || status === 'CANCELLED';
}

export const jobRunStatuses = [
  'ASSIGNED',
  'PREPARING',
  'RUNNING',
  'FAILING',
  'CANCELLING',
  'COMPLETED',
  'FAILED',
  'CANCELLED',
] as const;
export type JobRunStatus = (typeof jobRunStatuses)[number];

/** How far a stop has come: asked for, signal sent, killed, proved gone, or given up with the node. */
export const teardownStates = ['requested', 'signalled', 'killed', 'verified', 'unverified'] as const;
export type TeardownState = (typeof teardownStates)[number];

/** A published port: which public port of the gateway stands for it, and whether it answers. */
export interface PublishedPort {
  containerPort: number;
  port: number;
  /** The node's own public host, where its agent serves the port itself; null: the gateway's. */
  hostname: string | null;
  isReady: boolean;
  /** Fingerprint of the SSH server's key, once it answered. */
  hostKey: string | null;
}

/** The port that SSH servers listen on, in containers as elsewhere. */
export const sshPort = 22;

/** The same as the SQL function flotilla_named_ports: 22 is always published with an SSH key. */
export function namedPortCount({ ports, sshkey }: Pick<ContainerSpec, 'ports' | 'sshkey'>): number {
  return new Set([...(ports ?? []), ...(sshkey === null ? [] : [sshPort])]).size;
}
