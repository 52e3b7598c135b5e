// Field lists of jobs, runs and their bodies as the reference has them (pages: stop job, create job, monitor).
import type { FieldRow, ReferenceObject } from './field-list.ts';

const jobStatus = "'PENDING' | 'ASSIGNED' | 'RUNNING' | 'COMPLETED' | 'CANCELLED' | 'FAILED' | 'CANCELLING'";
const runStatus =
  "'ASSIGNED' | 'PREPARING' | 'RUNNING' | 'COMPLETED' | 'FAILED' | 'CANCELLED' | 'FAILING' | 'CANCELLING'";
const jobEvidence = [
  'test/http/jobs.test.ts',
  'test/http/budget.test.ts',
  'test/http/recipes.test.ts',
  'test/http/scheduler.test.ts',
  'test/http/receipts.test.ts',
  'test/gateway/ports.test.ts',
];

/** In a Job and in the payload of a recipe alike. */
export const containerFields: readonly FieldRow[] = [
  ['parameters', 'object', 'D create'],
  ['parameters.type', "'docker'", 'D create'],
  ['parameters.parameters', 'object', 'D create'],
  ['parameters.parameters.image', 'string', 'D create'],
  ['parameters.parameters.tag', 'string', 'D create'],
  ['parameters.parameters.host', 'string', 'D create'],
  ['parameters.parameters.user', 'string', 'D create'],
  [
    'parameters.parameters.secret',
    'string',
    'D create',
    'the value is never shown: "***" where one is stored; "***" cannot be posted',
  ],
  ['parameters.parameters.imagesrc', 'string', 'D create', 'kept and shown, without effect'],
  [
    'parameters.parameters.ports',
    'array | null',
    'D create',
    "null: the image's own EXPOSE list is published",
  ],
  ['parameters.parameters.env', 'object', 'D create', 'encrypted at rest'],
  ['parameters.parameters.sshkey', 'string', 'D create'],
  ['parameters.parameters.allowed_ips', 'array', 'D create', 'a bare address is accepted as well'],
  ['parameters.parameters.volumes', 'array', 'D create'],
  ['parameters.parameters.volumes[].image', 'string', 'D create'],
  ['parameters.parameters.volumes[].tag', 'string', 'D create'],
  ['parameters.parameters.volumes[].registry', 'string', 'D create'],
  ['parameters.parameters.volumes[].user', 'string', 'D create'],
  ['parameters.parameters.volumes[].secret', 'string', 'D create', 'never shown, as above'],
  ['parameters.parameters.volumes[].mount', 'string', 'D create'],
];

export const job: ReferenceObject = {
  title: 'Job',
  at: { route: 'GET /v1/jobs/{uuid}', part: 'answer' },
  evidence: jobEvidence,
  fields: [
    ['object', "'job'", 'D stop'],
    ['uuid', 'uuid | null', 'D stop', 'never null'],
    ['created_at', 'time | null', 'D stop', 'never null; with milliseconds'],
    ['updated_at', 'time | null', 'D stop', 'never null'],
    [
      'status',
      jobStatus,
      'D stop, monitor',
      'never CANCELLING: a stopped job is CANCELLED at once, its run is CANCELLING until the end is proved',
    ],
    ['task', "'BATCH' | 'PERSISTENT'", 'D stop'],
    ['title', 'string', 'D stop'],
    ['description', 'string | null', 'D stop'],
    ['cpu_count', 'number | null', 'D stop'],
    ['gpu_count', 'number | null', 'D stop'],
    ['gpu_name', 'string | null', 'D stop'],
    ['gpu_registry_uuid', 'string | null', 'D stop'],
    ['min_ram_gb', 'number', 'D stop'],
    ['min_vram_gb', 'number', 'D stop'],
    ['min_storage_gb', 'number', 'D stop'],
    ...containerFields,
    [
      'timeout_assign_at_ms',
      'number | null',
      'D stop',
      'epoch milliseconds of the deadline for finding a node',
    ],
    ['started_at', 'time | null', 'D stop'],
    ['completed_at', 'time | null', 'D stop'],
    ['max_timeout_assign_ms', 'number | null', 'D stop'],
    ['max_timeout_run_ms', 'number | null', 'D stop'],
    ['max_timeout_start_ms', 'number | null', 'D stop'],
    ['max_retry_count', 'number | null', 'D stop'],
    ['max_node_count', 'number | null', 'D stop'],
    ['image_size_bytes', 'number | null', 'D stop'],
    ['container_access_tokens', 'array', 'D stop', 'items are {token, user}'],
    ['container_access_tokens[].token', 'string', 'C'],
    ['status_reason', 'string | null', 'D stop'],
    ['source_recipe_uuid', 'string | null', 'D stop'],
  ],
};

const nodeUrlFields: readonly FieldRow[] = [
  [
    'node_urls',
    'array',
    'D monitor',
    'of a RUNNING one; none before, [] after; application ports first, ssh last',
  ],
  ['node_urls[].description', 'string', 'D monitor'],
  ['node_urls[].hostname', 'string', 'D monitor'],
  ['node_urls[].port', 'number', 'C'],
  ['node_urls[].protocol', "'tcp'", 'D monitor'],
  ['node_urls[].tls?', 'boolean', 'C', 'always there'],
];

const runFields: readonly FieldRow[] = [
  ['object', "'job_run'", 'D monitor'],
  ['uuid', 'uuid', 'D monitor'],
  ['status', runStatus, 'D monitor, C'],
  ['started_at_ms', 'number | null', 'D monitor'],
  ['ended_at_ms', 'number | null', 'D monitor'],
  ['duration_ms', 'number | null', 'D monitor', 'grows while the container runs, final at its end'],
  ...nodeUrlFields,
  ['job_uuid', 'uuid', 'C'],
  ['job_snapshot', 'object', 'C'],
  ['job_snapshot.uuid', 'uuid', 'C'],
  ['job_snapshot.title', 'string', 'C'],
  ['container_access_tokens', 'array', 'C', 'items are {token, user}'],
  ['container_access_tokens[].token', 'string', 'C'],
  ['hourly_rate_usd', 'number', 'C', 'fixed when the run is placed; of the GPUs given, not of the node'],
];

const runEvidence = [
  'test/http/job-runs.test.ts',
  'test/http/market.test.ts',
  'test/gateway/ports.test.ts',
  'test/http/receipts.test.ts',
  'test/http/failed-start.test.ts',
];

export const jobRun: ReferenceObject = {
  title: 'Job run, with its logs',
  at: { route: 'GET /v1/job-runs/{uuid}', part: 'answer' },
  evidence: runEvidence,
  fields: [...runFields, ['logs', 'string', 'D monitor', 'text, at most its first 4 MiB and last 12 MiB']],
};

export const listedJobRun: ReferenceObject = {
  title: 'Job run in a list, without logs',
  at: { route: 'GET /v1/job-runs', part: 'item' },
  evidence: runEvidence,
  fields: runFields,
};
