// Makes the body of "create a job" from what the command line says, over a JSON body where one is given.
import type { CreateJobBody } from '../protocol/job.ts';
import { UsageError } from './errors.ts';
import { type ImageReference, parseImageReference } from './image-reference.ts';
import type { Io } from './io.ts';

/** Options of `job submit`, already read: numbers, milliseconds, contents of files. */
export interface SubmitOptions {
  task?: 'BATCH' | 'PERSISTENT' | undefined;
  title?: string | undefined;
  description?: string | undefined;
  cpu?: number | undefined;
  ramGb?: number | undefined;
  storageGb?: number | undefined;
  gpus?: number | undefined;
  gpuName?: string | undefined;
  gpuRegistryUuid?: string | undefined;
  vramGb?: number | undefined;
  env?: Record<string, string> | undefined;
  ports?: number[] | undefined;
  labels?: Record<string, string> | undefined;
  sshKey?: string | undefined;
  allowedIps?: string[] | undefined;
  volumes?: VolumeOption[] | undefined;
  timeoutMs?: number | undefined;
  startTimeoutMs?: number | undefined;
  startTimeoutWaitsForPull?: boolean | undefined;
  assignTimeoutMs?: number | undefined;
  retries?: number | undefined;
  onNodeLost?: 'fail' | 'replace' | undefined;
  maxCostUsd?: number | undefined;
  renewWithinMs?: number | undefined;
  idleTimeoutMs?: number | undefined;
  priority?: number | undefined;
  regions?: string[] | undefined;
  registryHost?: string | undefined;
  registryUser?: string | undefined;
  registrySecret?: string | undefined;
  entrypoint?: string[] | undefined;
  stopSignal?: string | undefined;
  stopGraceMs?: number | undefined;
}

export interface VolumeOption {
  image: string;
  tag: string;
  mount: string;
}

/** Fields of the create body that no option sets: they are rare, and have a place in a JSON body. */
export const jsonOnlyFields = ['max_node_count', 'image_size_bytes', 'imagesrc'] as const;

/** A BATCH job must say how long it may run; without --timeout it may take this long. */
export const defaultRunTimeoutMs = 3_600_000;
const titleLength = 64;

/** The body for a job described by an image, a command and options alone. */
export function bodyFromImage(
  image: ImageReference,
  command: string[],
  options: SubmitOptions,
): CreateJobBody {
  const isBatch = options.task !== 'PERSISTENT';
  const body: CreateJobBody = {
    task: 'BATCH',
    title: titleOf(image, command),
    ...(isBatch ? { max_timeout_run_ms: defaultRunTimeoutMs } : {}),
    parameters: { type: 'docker', parameters: { ...image } },
  };
  return withOptions(body, command, options);
}

/** `body` as written, with the options laid over it; env and labels are merged, all else replaced. */
export function withOptions(body: CreateJobBody, command: string[], options: SubmitOptions): CreateJobBody {
  const container = body.parameters?.parameters;
  const env = options.env && { ...container?.env, ...options.env };
  const labels = options.labels && { ...body.labels, ...options.labels };
  return {
    ...body,
    ...given({
      task: options.task,
      title: options.title,
      description: options.description,
      cpu_count: options.cpu,
      min_ram_gb: options.ramGb,
      min_storage_gb: options.storageGb,
      gpu_count: options.gpus,
      gpu_name: options.gpuName,
      gpu_registry_uuid: options.gpuRegistryUuid,
      min_vram_gb: options.vramGb,
      max_timeout_run_ms: options.timeoutMs,
      max_timeout_start_ms: options.startTimeoutMs,
      start_timeout_waits_for_pull: options.startTimeoutWaitsForPull,
      max_timeout_assign_ms: options.assignTimeoutMs,
      max_retry_count: options.retries,
      on_node_lost: options.onNodeLost,
      max_cost_usd: options.maxCostUsd,
      renew_within_ms: options.renewWithinMs,
      idle_timeout_ms: options.idleTimeoutMs,
      priority: options.priority,
      allowed_region_codes: options.regions,
      labels,
    }),
    parameters: {
      ...body.parameters,
      parameters: {
        ...container,
        ...given({ ...containerFields(options), env, command: orAbsent(command) }),
      },
    },
  };
}

function containerFields(options: SubmitOptions) {
  return {
    host: options.registryHost,
    user: options.registryUser,
    secret: options.registrySecret,
    ports: options.ports,
    sshkey: options.sshKey,
    allowed_ips: options.allowedIps,
    volumes: options.volumes,
    entrypoint: options.entrypoint,
    stop_signal: options.stopSignal,
    stop_grace_ms: options.stopGraceMs,
  };
}

/** Lines of an env file: `KEY=VALUE`, `#` comments and empty lines; the value is taken as it stands. */
export function parseEnvFile(text: string, environment: Io['env']): Record<string, string> {
  const lines = text.split(/\r?\n/).filter((line) => line.trim() !== '' && !line.trimStart().startsWith('#'));
  return Object.assign({}, ...lines.map((line) => parseEnv(line, environment)));
}

/** `KEY=VALUE`, or `KEY` alone for the value of the caller's own environment, as docker does. */
export function parseEnv(text: string, environment: Io['env']): Record<string, string> {
  const split = text.indexOf('=');
  const key = split === -1 ? text : text.slice(0, split);
  if (!/^[^\s=\0]+$/.test(key)) throw new UsageError(`"${text}" is not KEY=VALUE.`);
  const value = split === -1 ? environment[key] : text.slice(split + 1);
  if (value === undefined)
    throw new UsageError(`Environment variable ${key} is not set here: write ${key}=VALUE.`);
  return { [key]: value };
}

/** `IMAGE[:TAG]=MOUNT`: the image whose files are copied, and the path they get. */
export function parseVolume(text: string): VolumeOption {
  const split = text.indexOf('=');
  const mount = text.slice(split + 1);
  if (split === -1 || !mount.startsWith('/'))
    throw new UsageError(`"${text}" is not a volume: write IMAGE:TAG=/path, the path absolute.`);
  return { ...parseImageReference(text.slice(0, split)), mount };
}

/** `KEY=VALUE` of a label; a key alone has an empty value. */
export function parseLabel(text: string): Record<string, string> {
  const split = text.indexOf('=');
  const key = split === -1 ? text : text.slice(0, split);
  if (!/^[A-Za-z0-9._/-]+$/.test(key)) {
    throw new UsageError(
      `"${text}" is not a label: write KEY=VALUE, the key of letters, digits and ._-/ only.`,
    );
  }
  return { [key]: split === -1 ? '' : text.slice(split + 1) };
}

/** One line of a public key; a private key is refused before it leaves this machine. */
export function checkPublicKey(text: string, file: string): string {
  if (text.includes('PRIVATE KEY')) {
    throw new UsageError(`${file} holds a private key: name the public one (usually ${file}.pub).`);
  }
  if (!/^(ssh|ecdsa|sk)-\S+ \S+/m.test(text)) throw new UsageError(`${file} holds no SSH public key.`);
  return text.trim();
}

function titleOf(image: ImageReference, command: string[]): string {
  const name = image.image.slice(image.image.lastIndexOf('/') + 1);
  const words = [...[name, ...command].join(' ').replace(/\s+/g, ' ').trim()];
  return words.length <= titleLength ? words.join('') : `${words.slice(0, titleLength - 1).join('')}…`;
}

function orAbsent(command: string[]): string[] | undefined {
  return command.length > 0 ? command : undefined;
}

type Given<T> = { [K in keyof T]?: Exclude<T[K], undefined> };

function given<T extends object>(fields: T): Given<T> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Given<T>;
}
