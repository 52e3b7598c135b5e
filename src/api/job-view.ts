// Shows jobs and runs as the API does: snake_case, RFC 3339 times, secrets masked.

import type { JobRecord } from '../db/job-rows.ts';
import type { JobRunRecord } from '../db/job-runs.ts';
import { type ContainerSpec, isTerminal } from '../domain/job.ts';
import { toUsd } from '../domain/price.ts';
import type { TeardownRecord } from '../domain/transition.ts';
import type { Job, PendingReason } from '../protocol/job.ts';
import type { JobRun, PullProgress } from '../protocol/job-run.ts';
import { accessTokens, type GatewayAddress, nodeUrls } from './node-urls.ts';

const mask = '***';

export function jobView(
  job: JobRecord,
  { pendingReason, gateway }: { pendingReason: PendingReason | null; gateway: GatewayAddress },
): Job {
  const { spec } = job;
  const { requirements } = spec;
  const urls = nodeUrls(job.lastRun?.ports ?? [], gateway);
  return {
    object: 'job',
    uuid: job.id,
    created_at: timestamp(job.createdAtMs),
    updated_at: timestamp(job.updatedAtMs),
    status: job.status,
    task: spec.task,
    title: spec.title,
    description: spec.description,
    cpu_count: requirements.cpuCount,
    gpu_count: requirements.gpuCount,
    gpu_name: requirements.gpuName,
    gpu_registry_uuid: requirements.gpuRegistryUuid,
    min_ram_gb: requirements.minRamGb,
    min_vram_gb: requirements.minVramGb,
    min_storage_gb: requirements.minStorageGb,
    allowed_region_codes: [...requirements.allowedRegionCodes],
    parameters: { type: 'docker', parameters: containerView(spec.container) },
    timeout_assign_at_ms: job.timeoutAssignAtMs === null ? null : Math.round(job.timeoutAssignAtMs),
    started_at: nullableTimestamp(job.startedAtMs),
    completed_at: nullableTimestamp(job.completedAtMs),
    max_timeout_assign_ms: spec.maxTimeoutAssignMs,
    max_timeout_run_ms: spec.maxTimeoutRunMs,
    max_timeout_start_ms: spec.maxTimeoutStartMs,
    start_timeout_waits_for_pull: spec.startTimeoutWaitsForPull,
    max_retry_count: spec.maxRetryCount,
    max_node_count: spec.maxNodeCount,
    on_node_lost: spec.onNodeLost,
    image_size_bytes: job.imageSizeBytes,
    ...budgetView(job),
    container_access_tokens: accessTokens(job.lastRun?.accessToken ?? null),
    status_reason: job.statusReason,
    status_detail: job.statusDetail,
    source_recipe_uuid: job.sourceRecipeUuid,
    source_recipe_version: job.sourceRecipeVersion,
    node_urls: urls,
    endpoint_url: endpointUrl(urls),
    labels: { ...spec.labels },
    priority: spec.priority,
    teardown: teardownView(job.lastRun?.teardown ?? null),
    pending_reason: job.status === 'PENDING' ? pendingReason : null,
  };
}

function budgetView({ spec, status, startedAtMs, renewedAtMs }: JobRecord) {
  const { maxCostMicros, renewWithinMs, idleTimeoutMs } = spec.budget;
  const isCounting = startedAtMs !== null && renewWithinMs !== null && !isTerminal(status);
  return {
    max_cost_usd: maxCostMicros === null ? null : toUsd(maxCostMicros),
    renew_within_ms: renewWithinMs,
    renew_by: isCounting ? timestamp(Math.max(startedAtMs, renewedAtMs ?? 0) + renewWithinMs) : null,
    idle_timeout_ms: idleTimeoutMs,
  };
}

function containerView(container: ContainerSpec): Job['parameters']['parameters'] {
  return {
    image: container.image,
    tag: container.tag,
    host: container.host ?? '',
    user: container.user ?? '',
    secret: container.secret === null ? '' : mask,
    imagesrc: container.imagesrc ?? '',
    ports: container.ports && [...container.ports],
    env: maskedEnv(container),
    sshkey: container.sshkey ?? '',
    allowed_ips: [...container.allowedIps],
    volumes: container.volumes.map((volume) => ({ ...volume, secret: volume.secret === '' ? '' : mask })),
    command: container.command && [...container.command],
    entrypoint: container.entrypoint && [...container.entrypoint],
    stop_signal: container.stopSignal,
    stop_grace_ms: container.stopGraceMs,
  };
}

/** The first application port as a URL; null while there is none. */
function endpointUrl(urls: Job['node_urls']): string | null {
  const first = urls.find(({ description }) => description !== 'ssh');
  if (first === undefined) return null;
  const host = first.hostname.includes(':') ? `[${first.hostname}]` : first.hostname;
  return `${first.tls ? 'https' : 'http'}://${host}:${first.port}`;
}

function maskedEnv({ env, secretEnvNames = [] }: ContainerSpec): Record<string, string> {
  return { ...env, ...Object.fromEntries(secretEnvNames.map((name) => [name, mask])) };
}

export function jobRunView(run: JobRunRecord, gateway: GatewayAddress): JobRun {
  return {
    object: 'job_run',
    uuid: run.id,
    job_uuid: run.jobId,
    node_uuid: run.nodeId,
    attempt: run.attempt,
    job_snapshot: { uuid: run.jobId, title: run.jobTitle },
    status: run.status,
    status_reason: run.statusReason,
    status_detail: run.statusDetail,
    created_at: timestamp(run.createdAtMs),
    updated_at: timestamp(run.updatedAtMs),
    started_at_ms: run.startedAtMs,
    ended_at_ms: run.endedAtMs,
    duration_ms: durationMs(run),
    hourly_rate_usd: toUsd(run.hourlyRateMicros),
    node_urls: nodeUrls(run.ports, gateway),
    container_access_tokens: accessTokens(run.accessToken),
    refused_connection_count: run.refusedCount,
    exit_code: run.exitCode,
    exit_signal: run.exitSignal,
    is_oom_killed: run.isOomKilled,
    gpu_uuids: [...run.gpuUuids],
    image_digest: run.imageDigest,
    progress: run.status === 'PREPARING' ? (run.progress as PullProgress | null) : null,
    teardown: teardownView(run.teardown),
  };
}

/** Grows while the container runs; null when it never did. */
function durationMs(run: JobRunRecord): number | null {
  if (run.startedAtMs === null) return null;
  return Math.max(0, (run.endedAtMs ?? run.readAtMs) - run.startedAtMs);
}

function teardownView(teardown: TeardownRecord | null): Job['teardown'] {
  if (teardown === null) return null;
  const { state, requestedAtMs, deadlineAtMs } = teardown;
  return { state, requested_at: timestamp(requestedAtMs), deadline_at: timestamp(deadlineAtMs) };
}

export function timestamp(atMs: number): string {
  return new Date(atMs).toISOString();
}

export function nullableTimestamp(atMs: number | null): string | null {
  return atMs === null ? null : timestamp(atMs);
}
