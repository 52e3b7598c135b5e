// The jobs table's rows, and their mapping to the domain's job and back; secrets are opened and sealed here.
import type {
  ContainerSpec,
  JobRunStatus,
  JobSpec,
  JobStatus,
  JobTask,
  NodeLossPolicy,
  PublishedPort,
  Requirements,
  TeardownState,
  VolumeSpec,
} from '../domain/job.ts';
import { namedPortCount } from '../domain/job.ts';
import type { TeardownRecord } from '../domain/transition.ts';
import { type StoredPorts, toPublishedPorts } from './gateway-ports.ts';
import type { Vault } from './vault.ts';

/** A job as the database knows it; its container's secrets are in clear. */
export interface JobRecord {
  id: string;
  accountId: string;
  spec: JobSpec;
  status: JobStatus;
  createdAtMs: number;
  updatedAtMs: number;
  timeoutAssignAtMs: number | null;
  startedAtMs: number | null;
  completedAtMs: number | null;
  statusReason: string | null;
  statusDetail: Record<string, unknown> | null;
  imageSizeBytes: number | null;
  sourceRecipeUuid: string | null;
  sourceRecipeVersion: number | null;
  renewedAtMs: number | null;
  lastRun: LastRun | null;
}

/** What a job shows of its newest run. */
export interface LastRun {
  id: string;
  status: JobRunStatus;
  teardown: TeardownRecord | null;
  ports: readonly PublishedPort[];
  /** In clear; null when there is none, or once it is revoked. */
  accessToken: string | null;
}

/** The columns of the job's newest run that a job shows, beside its own. */
export interface JobRow {
  id: string;
  account_id: string;
  created_at: number;
  updated_at: number;
  status: JobStatus;
  task: JobTask;
  title: string;
  description: string | null;
  cpu_count: number | null;
  gpu_count: number | null;
  gpu_name: string | null;
  gpu_registry_uuid: string | null;
  min_ram_gb: number;
  min_storage_gb: number;
  min_vram_gb: number;
  allowed_region_codes: string[];
  container: StoredContainer;
  sealed: Buffer | null;
  max_timeout_assign_ms: number;
  max_timeout_start_ms: number;
  start_timeout_waits_for_pull: boolean;
  max_timeout_run_ms: number | null;
  max_retry_count: number;
  max_node_count: number;
  on_node_lost: NodeLossPolicy | null;
  max_cost_micros: number | null;
  renew_within_ms: number | null;
  idle_timeout_ms: number | null;
  renewed_at: number | null;
  image_size_bytes: number | null;
  source_recipe_uuid: string | null;
  source_recipe_version: number | null;
  labels: Record<string, string>;
  priority: number;
  timeout_assign_at: number | null;
  started_at: number | null;
  completed_at: number | null;
  status_reason: string | null;
  status_detail: Record<string, unknown> | null;
  last_run_id: string | null;
  run_status: JobRunStatus | null;
  teardown_state: TeardownState | null;
  teardown_requested_at: number | null;
  teardown_deadline_at: number | null;
  run_ports: StoredPorts;
  run_token_sealed: Buffer | null;
}

/** Selects a JobRow; `j` is jobs and `r` its newest run. */
export const jobColumns = `j.*, r.status as run_status, r.teardown_state, r.teardown_requested_at,
  r.teardown_deadline_at, r.ports as run_ports, r.token_sealed as run_token_sealed`;
export const jobTables = 'jobs j left join job_runs r on r.id = j.last_run_id';

interface StoredContainer {
  image: string;
  tag: string;
  host: string | null;
  user: string | null;
  imagesrc: string | null;
  ports: number[] | null;
  sshkey: string | null;
  allowed_ips: string[];
  volumes: Omit<VolumeSpec, 'secret'>[];
  command: string[] | null;
  entrypoint: string[] | null;
  stop_signal: string | null;
  stop_grace_ms: number | null;
  secret_env_names?: string[];
}

interface ContainerSecrets {
  secret: string | null;
  env: Record<string, string>;
  volume_secrets: string[];
}

const noSecrets: ContainerSecrets = { secret: null, env: {}, volume_secrets: [] };

export function secretsOwner(accountId: string, jobId: string): string {
  return `account/${accountId}/job/${jobId}`;
}

/** The container as stored: what is secret goes sealed beside it, and nothing when there is none. */
export function storeContainer(
  container: ContainerSpec,
  options: { vault: Vault; owner: string },
): { container: StoredContainer; sealed: Buffer | null } {
  const { secret, env, volumes, allowedIps, stopSignal, stopGraceMs, ports, command, entrypoint, ...rest } =
    container;
  const { secretEnvNames = [], ...plain } = rest;
  const secrets: ContainerSecrets = { secret, env, volume_secrets: volumes.map((volume) => volume.secret) };
  const hasSecrets =
    secret !== null || Object.keys(env).length > 0 || volumes.some((volume) => volume.secret !== '');
  return {
    container: {
      ...plain,
      ports: ports && [...ports],
      command: command && [...command],
      entrypoint: entrypoint && [...entrypoint],
      allowed_ips: [...allowedIps],
      volumes: volumes.map(({ secret: _, ...volume }) => volume),
      stop_signal: stopSignal,
      stop_grace_ms: stopGraceMs,
      ...(secretEnvNames.length === 0 ? {} : { secret_env_names: [...secretEnvNames] }),
    },
    sealed: hasSecrets ? options.vault.seal(JSON.stringify(secrets), options.owner) : null,
  };
}

export function toJobRecord(row: JobRow, vault: Vault): JobRecord {
  return {
    id: row.id,
    accountId: row.account_id,
    spec: toJobSpec(row, vault),
    status: row.status,
    createdAtMs: row.created_at,
    updatedAtMs: row.updated_at,
    timeoutAssignAtMs: row.timeout_assign_at,
    startedAtMs: row.started_at,
    completedAtMs: row.completed_at,
    statusReason: row.status_reason,
    statusDetail: row.status_detail,
    imageSizeBytes: row.image_size_bytes,
    sourceRecipeUuid: row.source_recipe_uuid,
    sourceRecipeVersion: row.source_recipe_version,
    renewedAtMs: row.renewed_at,
    lastRun: lastRunOf(row, vault),
  };
}

function lastRunOf(row: JobRow, vault: Vault): LastRun | null {
  const { last_run_id: id, run_status: status } = row;
  if (id === null || status === null) return null;
  const ports = status === 'RUNNING' ? toPublishedPorts(row.run_ports) : [];
  return {
    id,
    status,
    teardown: toTeardown(row),
    ports,
    accessToken: openToken(vault, id, row.run_token_sealed),
  };
}

/** What a run's token is sealed for. */
export function tokenOwner(runId: string): string {
  return `run/${runId}/token`;
}

export function openToken(vault: Vault, runId: string, sealed: Buffer | null): string | null {
  return sealed === null ? null : vault.open(sealed, tokenOwner(runId));
}

export function toTeardown(row: {
  teardown_state: TeardownState | null;
  teardown_requested_at: number | null;
  teardown_deadline_at: number | null;
}): TeardownRecord | null {
  const {
    teardown_state: state,
    teardown_requested_at: requestedAtMs,
    teardown_deadline_at: deadlineAtMs,
  } = row;
  if (state === null || requestedAtMs === null || deadlineAtMs === null) return null;
  return { state, requestedAtMs, deadlineAtMs };
}

/** The columns that say what a job needs of a node. */
export type RequirementColumns = Pick<
  JobRow,
  | 'cpu_count'
  | 'gpu_count'
  | 'gpu_name'
  | 'gpu_registry_uuid'
  | 'min_ram_gb'
  | 'min_storage_gb'
  | 'min_vram_gb'
  | 'allowed_region_codes'
>;

export function toRequirements(row: RequirementColumns): Requirements {
  return {
    cpuCount: row.cpu_count ?? 0,
    gpuCount: row.gpu_count ?? 0,
    minRamGb: row.min_ram_gb,
    minStorageGb: row.min_storage_gb,
    minVramGb: row.min_vram_gb,
    gpuName: row.gpu_name,
    gpuRegistryUuid: row.gpu_registry_uuid,
    allowedRegionCodes: row.allowed_region_codes,
  };
}

function toJobSpec(row: JobRow, vault: Vault): JobSpec {
  return {
    task: row.task,
    title: row.title,
    description: row.description,
    requirements: { ...toRequirements(row), publicPortCount: namedPortCount(row.container) },
    container: toContainerSpec(row, vault),
    maxTimeoutAssignMs: row.max_timeout_assign_ms,
    maxTimeoutStartMs: row.max_timeout_start_ms,
    startTimeoutWaitsForPull: row.start_timeout_waits_for_pull,
    maxTimeoutRunMs: row.max_timeout_run_ms,
    maxRetryCount: row.max_retry_count,
    maxNodeCount: row.max_node_count,
    onNodeLost: row.on_node_lost,
    budget: {
      maxCostMicros: row.max_cost_micros,
      renewWithinMs: row.renew_within_ms,
      idleTimeoutMs: row.idle_timeout_ms,
    },
    labels: row.labels,
    priority: row.priority,
  };
}

/** The container with its secrets opened. */
export function toContainerSpec(
  row: Pick<JobRow, 'id' | 'account_id' | 'container' | 'sealed'>,
  vault: Vault,
): ContainerSpec {
  const secrets =
    row.sealed === null ? noSecrets : openSecrets(row.sealed, vault, secretsOwner(row.account_id, row.id));
  const { allowed_ips, stop_signal, stop_grace_ms, volumes, secret_env_names, ...plain } = row.container;
  return {
    ...plain,
    secret: secrets.secret,
    env: secrets.env,
    allowedIps: allowed_ips,
    volumes: volumes.map((volume, index) => ({ ...volume, secret: secrets.volume_secrets[index] ?? '' })),
    stopSignal: stop_signal,
    stopGraceMs: stop_grace_ms,
    ...(secret_env_names === undefined ? {} : { secretEnvNames: secret_env_names }),
  };
}

function openSecrets(sealed: Buffer, vault: Vault, owner: string): ContainerSecrets {
  return JSON.parse(vault.open(sealed, owner)) as ContainerSecrets;
}
