// Reads the body of a create: the schema's rules and those no schema can say, all in one answer.
import { BlockList, isIP } from 'node:net';
import type { ContainerSpec, JobSpec, VolumeSpec } from '../domain/job.ts';
import type { FieldIssue } from '../protocol/error.ts';
import { CreateJobBody } from '../protocol/job.ts';
import { regionCodes } from '../protocol/schema.ts';
import { validationFailed } from './errors.ts';
import { imageIssues, maskedSecret, registryIssues, splitImage } from './image-rules.ts';
import { bodyCheck, describe } from './validate.ts';
import { mountPath, volumeIssues } from './volume-rules.ts';

export interface JobRequest {
  spec: JobSpec;
  imageSizeBytes: number | null;
}

const createCheck = bodyCheck(CreateJobBody);

const defaults = { timeoutMs: 300_000, title: 'Untitled job' };
const limits = { envBytes: 131_072, labels: 64, labelKey: 128, labelValue: 256 };

/** The job a body asks for; throws one validation error that lists every wrong field. */
export function readJobRequest(body: unknown): JobRequest {
  const issues = jobRequestIssues(body);
  if (issues.length > 0) throw validationFailed(issues);
  return toRequest(withoutEmptyUuid(asRecord(body)) as unknown as CreateJobBody);
}

/** Every wrong field of such a body. */
export function jobRequestIssues(body: unknown): FieldIssue[] {
  const fields = withoutEmptyUuid(asRecord(body));
  return oncePerField([
    ...ruleIssues(fields),
    ...createCheck.issues(body === undefined || isRecord(body) ? fields : body),
  ]);
}

function ruleIssues(fields: Fields): FieldIssue[] {
  return [
    ...recipeIssues(fields),
    ...timeoutIssues(fields),
    ...nodeLossIssues(fields),
    ...gpuIssues(fields),
    ...regionIssues(fields),
    ...labelIssues(fields.labels),
    ...containerIssues(containerFields(fields)),
  ];
}

/** What a rule says of a field is better than what its schema says. */
function oncePerField(issues: readonly FieldIssue[]): FieldIssue[] {
  const paths = new Set<string>();
  return issues.filter(({ path }) => !paths.has(path) && paths.add(path));
}

/** Official samples send `""` for what they leave out; every other optional text takes it as it is. */
function withoutEmptyUuid(fields: Fields): Fields {
  return fields.gpu_registry_uuid === '' ? { ...fields, gpu_registry_uuid: null } : fields;
}

function toRequest(body: CreateJobBody): JobRequest {
  const spec: JobSpec = {
    task: body.task ?? 'BATCH',
    title: textOf(body.title) ?? defaults.title,
    description: textOf(body.description),
    requirements: {
      cpuCount: body.cpu_count ?? 0,
      gpuCount: body.gpu_count ?? 0,
      minRamGb: body.min_ram_gb ?? 0,
      minStorageGb: body.min_storage_gb ?? 0,
      minVramGb: body.min_vram_gb ?? 0,
      gpuName: textOf(body.gpu_name),
      gpuRegistryUuid: textOf(body.gpu_registry_uuid),
      allowedRegionCodes: body.allowed_region_codes ?? [],
    },
    container: toContainer(body.parameters.parameters),
    maxTimeoutAssignMs: body.max_timeout_assign_ms ?? defaults.timeoutMs,
    maxTimeoutStartMs: body.max_timeout_start_ms ?? defaults.timeoutMs,
    startTimeoutWaitsForPull: body.start_timeout_waits_for_pull ?? false,
    maxTimeoutRunMs: body.max_timeout_run_ms ?? null,
    maxRetryCount: body.max_retry_count ?? 0,
    maxNodeCount: body.max_node_count ?? 1,
    onNodeLost: nodeLossPolicyOf(body),
    budget: {
      maxCostMicros: toMicros(body.max_cost_usd),
      renewWithinMs: body.renew_within_ms ?? null,
      idleTimeoutMs: body.idle_timeout_ms ?? null,
    },
    labels: body.labels ?? {},
    priority: body.priority ?? 0,
  };
  return { spec, imageSizeBytes: body.image_size_bytes ?? null };
}

/** A PERSISTENT job that may be retried at all is replaced, unless it says otherwise. */
function nodeLossPolicyOf({ task, on_node_lost: wish, max_retry_count: retries }: CreateJobBody) {
  if (task !== 'PERSISTENT') return null;
  return wish ?? ((retries ?? 0) > 0 ? 'replace' : 'fail');
}

function toMicros(usd: number | null | undefined): number | null {
  return usd === null || usd === undefined ? null : Math.round(usd * 1e6);
}

type WireContainer = CreateJobBody['parameters']['parameters'];

function toContainer(wire: WireContainer): ContainerSpec {
  const { image, tag } = splitImage(wire.image, textOf(wire.tag));
  return {
    image,
    tag,
    host: textOf(wire.host),
    user: textOf(wire.user),
    secret: textOf(wire.secret),
    imagesrc: textOf(wire.imagesrc),
    ports: wire.ports ?? null,
    env: wire.env ?? {},
    sshkey: textOf(wire.sshkey),
    allowedIps: wire.allowed_ips ?? [],
    volumes: (wire.volumes ?? []).map(toVolume),
    command: wire.command ?? null,
    entrypoint: wire.entrypoint ?? null,
    stopSignal: textOf(wire.stop_signal),
    stopGraceMs: wire.stop_grace_ms ?? null,
  };
}

function toVolume(volume: NonNullable<WireContainer['volumes']>[number]): VolumeSpec {
  const { mount, registry, user, secret } = volume;
  const { image, tag } = splitImage(volume.image, textOf(volume.tag));
  return {
    image,
    mount: mountPath(mount),
    tag,
    registry: registry ?? '',
    user: user ?? '',
    secret: secret ?? '',
  };
}

/** `""` and null mean absent. */
function textOf(text: string | null | undefined): string | null {
  return text === undefined || text === null || text === '' ? null : text;
}

function recipeIssues(fields: Fields): FieldIssue[] {
  if (!('recipe_uuid' in fields)) return [];
  return [
    {
      path: 'recipe_uuid',
      expected: 'a plain job here; a recipe is cooked with POST /v1/job-recipes/{uuid}/cook',
    },
  ];
}

function timeoutIssues({ task, max_timeout_run_ms: timeout }: Fields): FieldIssue[] {
  const path = 'max_timeout_run_ms';
  if (task === 'PERSISTENT') {
    if (timeout === undefined || timeout === null) return [];
    return [{ path, expected: 'null or absent for a PERSISTENT job', received: describe(timeout) }];
  }
  if (timeout !== undefined && timeout !== null) return [];
  return [{ path, expected: 'milliseconds, at least 60000, for a BATCH job', received: describe(timeout) }];
}

function nodeLossIssues({ task, on_node_lost: policy }: Fields): FieldIssue[] {
  if (task === 'PERSISTENT' || policy === undefined || policy === null) return [];
  const expected = 'absent for a BATCH job, which is placed again where its max_retry_count is above 0';
  return [{ path: 'on_node_lost', expected, received: describe(policy) }];
}

function gpuIssues({ gpu_name: name, gpu_registry_uuid: uuid }: Fields): FieldIssue[] {
  if (!name || !uuid) return [];
  return [
    { path: 'gpu_registry_uuid', expected: 'absent when gpu_name is given: name a GPU by one of the two' },
  ];
}

function regionIssues({ allowed_region_codes: codes }: Fields): FieldIssue[] {
  if (!Array.isArray(codes)) return [];
  const known = new Set<unknown>(regionCodes);
  return codes.flatMap((code, index) =>
    known.has(code) || typeof code !== 'string'
      ? []
      : [
          {
            path: `allowed_region_codes[${index}]`,
            expected: 'a known region code, such as eu-central-1 or us-east-1',
            received: code.slice(0, 40),
          },
        ],
  );
}

function labelIssues(labels: unknown): FieldIssue[] {
  const entries = Object.entries(asRecord(labels));
  const issues: FieldIssue[] = [];
  if (entries.length > limits.labels)
    issues.push({
      path: 'labels',
      expected: `at most ${limits.labels} labels`,
      received: String(entries.length),
    });
  for (const [key, value] of entries.slice(0, limits.labels)) {
    if (!/^[A-Za-z0-9][A-Za-z0-9._/-]*$/.test(key) || key.length > limits.labelKey) {
      issues.push({
        path: `labels.${key.slice(0, 40)}`,
        expected: `a key of letters, digits and ._-/, at most ${limits.labelKey}`,
      });
    }
    if (typeof value === 'string' && value.length > limits.labelValue) {
      issues.push({
        path: `labels.${key.slice(0, 40)}`,
        expected: `at most ${limits.labelValue} characters`,
        received: describe(value),
      });
    }
  }
  return issues;
}

const base = 'parameters.parameters';

function containerIssues(container: Fields): FieldIssue[] {
  return [
    ...imageIssues(container, base),
    ...envIssues(container.env),
    ...ipIssues(container.allowed_ips),
    ...signalIssues(container.stop_signal),
    ...registryIssues(container, { path: base, hostField: 'host' }),
    ...commandIssues(container),
    ...volumeIssues(container.volumes, `${base}.volumes`),
  ];
}

function envIssues(env: unknown): FieldIssue[] {
  const entries = Object.entries(asRecord(env));
  const issues = entries.flatMap(([key, value]): FieldIssue[] => {
    const path = `${base}.env.${key.slice(0, 60)}`;
    if (!/^[^=\0]{1,255}$/.test(key)) return [{ path, expected: 'a name of 1 to 255 characters without =' }];
    if (key.startsWith('FLOTILLA_'))
      return [{ path, expected: 'a name that does not begin with FLOTILLA_, which is reserved' }];
    if (value === maskedSecret) return [{ path, expected: 'the value itself; *** is only how it is shown' }];
    return [];
  });
  const bytes = entries.reduce((sum, [key, value]) => sum + bytesOf(key) + bytesOf(value) + 2, 0);
  if (bytes > limits.envBytes)
    issues.push({
      path: `${base}.env`,
      expected: `at most ${limits.envBytes} bytes in all`,
      received: `${bytes} bytes`,
    });
  return issues;
}

function bytesOf(text: unknown): number {
  return Buffer.byteLength(String(text));
}

function ipIssues(ips: unknown): FieldIssue[] {
  if (!Array.isArray(ips)) return [];
  return ips.flatMap((ip, index) =>
    typeof ip !== 'string' || isAddressRange(ip)
      ? []
      : [
          {
            path: `${base}.allowed_ips[${index}]`,
            expected: 'an IP address or CIDR, such as 203.0.113.7/32',
            received: ip.slice(0, 64),
          },
        ],
  );
}

/** A bare IPv4 or IPv6 address, or one with a prefix length. */
export function isAddressRange(text: string): boolean {
  const [address = '', prefix, ...rest] = text.split('/');
  const version = isIP(address);
  if (version === 0 || rest.length > 0 || address.includes('%')) return false;
  return prefix === undefined || (/^\d{1,3}$/.test(prefix) && Number(prefix) <= (version === 4 ? 32 : 128));
}

/** The addresses of a list of ranges that isAddressRange accepted. */
export function addressList(ranges: readonly string[]): BlockList {
  const list = new BlockList();
  for (const range of ranges) {
    const [address = '', prefix] = range.split('/');
    const family = isIP(address) === 6 ? 'ipv6' : 'ipv4';
    list.addSubnet(address, prefix === undefined ? (family === 'ipv4' ? 32 : 128) : Number(prefix), family);
  }
  return list;
}

function signalIssues(signal: unknown): FieldIssue[] {
  if (typeof signal !== 'string' || signal === '' || isSignalName(signal) || isSignalNumber(signal))
    return [];
  return [
    {
      path: `${base}.stop_signal`,
      expected: 'a signal such as SIGTERM, SIGINT or 15',
      received: signal.slice(0, 32),
    },
  ];
}

// Source: signal(7); names of Linux, where containers run, whatever the server's own system is.
const signalNames = new Set(
  `HUP INT QUIT ILL TRAP ABRT IOT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG
  XCPU XFSZ VTALRM PROF WINCH IO POLL PWR SYS RTMIN RTMAX`.split(/\s+/),
);

function isSignalName(text: string): boolean {
  const name = text.replace(/^SIG/, '');
  return signalNames.has(name) || /^RTMIN\+([1-9]|1[0-5])$/.test(name) || /^RTMAX-([1-9]|1[0-4])$/.test(name);
}

function isSignalNumber(text: string): boolean {
  return /^\d{1,2}$/.test(text) && Number(text) >= 1 && Number(text) <= 64;
}

function commandIssues({ entrypoint }: Fields): FieldIssue[] {
  if (!Array.isArray(entrypoint) || entrypoint.length === 0 || entrypoint[0] !== '') return [];
  return [{ path: `${base}.entrypoint[0]`, expected: 'a program, not an empty string' }];
}

type Fields = Record<string, unknown>;

function containerFields(fields: Fields): Fields {
  return asRecord(asRecord(fields.parameters).parameters);
}

function isRecord(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function asRecord(value: unknown): Fields {
  return isRecord(value) ? value : {};
}
