// Wire shapes of a job: the create body, the Job object and the body of Stop Job (reference: Stop Job page).
import Type, { type Static } from 'typebox';
import { jobStatuses, jobTasks, nodeLossPolicies, teardownStates } from '../domain/job.ts';
import { ListOf } from './list.ts';
import { Labels, Milliseconds, Nullable, NullableWords, Timestamp, Uuid, Words } from './schema.ts';

const Volume = Type.Object(
  {
    image: Type.String(),
    tag: Type.Optional(Nullable(Type.String())),
    registry: Type.Optional(Nullable(Type.String())),
    user: Type.Optional(Nullable(Type.String())),
    secret: Type.Optional(Nullable(Type.String())),
    mount: Type.String({ description: 'absolute path in the container' }),
  },
  { additionalProperties: false },
);

/** What runs in the container. `""` and null mean absent for optional fields. */
export const ContainerParameters = Type.Object(
  {
    image: Type.String({ minLength: 1, maxLength: 512, examples: ['busybox'] }),
    tag: Type.Optional(Nullable(Type.String({ maxLength: 128, default: 'latest' }))),
    host: Type.Optional(
      Nullable(Type.String({ maxLength: 255, description: 'registry host of a private image' })),
    ),
    user: Type.Optional(Nullable(Type.String({ maxLength: 255, description: 'registry user' }))),
    secret: Type.Optional(
      Nullable(Type.String({ maxLength: 16_384, description: 'registry password or token; shown as ***' })),
    ),
    imagesrc: Type.Optional(Nullable(Type.String({ maxLength: 2048, description: 'informational' }))),
    ports: Type.Optional(
      Nullable(
        Type.Array(Type.Integer({ minimum: 1, maximum: 65_535 }), { maxItems: 64, uniqueItems: true }),
      ),
    ),
    env: Type.Optional(Nullable(Type.Record(Type.String(), Type.String({ maxLength: 131_072 })))),
    sshkey: Type.Optional(
      Nullable(
        Type.String({
          maxLength: 16_384,
          description: 'SSH public key, reaches the container as SSH_PUBKEY',
        }),
      ),
    ),
    allowed_ips: Type.Optional(Nullable(Type.Array(Type.String({ maxLength: 64 }), { maxItems: 256 }))),
    volumes: Type.Optional(Nullable(Type.Array(Volume, { maxItems: 16 }))),
    command: Type.Optional(
      Nullable(
        Type.Array(Type.String({ maxLength: 131_072 }), {
          maxItems: 1024,
          description: "replaces the image's CMD",
        }),
      ),
    ),
    entrypoint: Type.Optional(Nullable(Type.Array(Type.String({ maxLength: 131_072 }), { maxItems: 64 }))),
    stop_signal: Type.Optional(Nullable(Type.String({ maxLength: 32, examples: ['SIGINT'] }))),
    stop_grace_ms: Type.Optional(Nullable(Type.Integer({ minimum: 0, maximum: 300_000 }))),
  },
  { additionalProperties: false },
);

/** Body of `POST /v1/jobs`. BATCH needs max_timeout_run_ms >= 60000; PERSISTENT takes none. */
export const CreateJobBody = Type.Object(
  {
    task: Type.Optional(Words(jobTasks)),
    title: Type.Optional(Nullable(Type.String({ maxLength: 256 }))),
    description: Type.Optional(Nullable(Type.String({ maxLength: 4096 }))),
    cpu_count: Type.Optional(Nullable(Type.Number({ minimum: 0, maximum: 4096 }))),
    gpu_count: Type.Optional(Nullable(Type.Integer({ minimum: 0, maximum: 1024 }))),
    gpu_name: Type.Optional(Nullable(Type.String({ maxLength: 128 }))),
    gpu_registry_uuid: Type.Optional(Nullable(Uuid)),
    min_ram_gb: Type.Optional(Nullable(Type.Number({ minimum: 0, maximum: 1_000_000 }))),
    min_storage_gb: Type.Optional(Nullable(Type.Number({ minimum: 0, maximum: 10_000_000 }))),
    min_vram_gb: Type.Optional(Nullable(Type.Number({ minimum: 0, maximum: 100_000 }))),
    max_node_count: Type.Optional(Nullable(Type.Integer({ minimum: 1, maximum: 1024 }))),
    max_retry_count: Type.Optional(Nullable(Type.Integer({ minimum: 0, maximum: 1000 }))),
    on_node_lost: Type.Optional(
      NullableWords(nodeLossPolicies, {
        description:
          'of a PERSISTENT job whose node is lost or drained: replace goes on elsewhere (at most 3 losses), fail ends it; absent: replace where max_retry_count is above 0',
      }),
    ),
    max_timeout_assign_ms: Type.Optional(
      Nullable(Type.Integer({ minimum: 300_000, maximum: 2_592_000_000 })),
    ),
    max_timeout_start_ms: Type.Optional(Nullable(Type.Integer({ minimum: 120_000, maximum: 604_800_000 }))),
    start_timeout_waits_for_pull: Type.Optional(
      Nullable(
        Type.Boolean({
          default: false,
          description:
            'max_timeout_start_ms counts from the last byte of an image or volume that moved, at most 6 hours in all',
        }),
      ),
    ),
    max_timeout_run_ms: Type.Optional(Nullable(Type.Integer({ minimum: 60_000, maximum: 31_536_000_000 }))),
    allowed_region_codes: Type.Optional(
      Nullable(Type.Array(Type.String({ maxLength: 32 }), { maxItems: 36, uniqueItems: true })),
    ),
    image_size_bytes: Type.Optional(Nullable(Type.Integer({ minimum: 0, maximum: 1e15 }))),
    max_cost_usd: Type.Optional(
      Nullable(
        Type.Number({
          minimum: 0.000001,
          maximum: 1_000_000,
          description: 'stopped before all its runs together cost more',
        }),
      ),
    ),
    renew_within_ms: Type.Optional(
      Nullable(
        Type.Integer({
          minimum: 60_000,
          maximum: 31_536_000_000,
          description:
            'stopped so long after its first start unless POST /v1/jobs/{uuid}/renew came, which begins the time anew',
        }),
      ),
    ),
    idle_timeout_ms: Type.Optional(
      Nullable(
        Type.Integer({
          minimum: 60_000,
          maximum: 31_536_000_000,
          description: 'stopped when CPU, GPUs and network were idle for so long',
        }),
      ),
    ),
    labels: Type.Optional(Nullable(Labels)),
    priority: Type.Optional(
      Nullable(
        Type.Integer({
          minimum: -1000,
          maximum: 1000,
          description: 'higher goes first; above 0 needs jobs:prioritize',
        }),
      ),
    ),
    parameters: Type.Object(
      {
        type: Type.Literal('docker'),
        parameters: ContainerParameters,
      },
      { additionalProperties: false },
    ),
  },
  { additionalProperties: false },
);
export type CreateJobBody = Static<typeof CreateJobBody>;

/** Body of `PUT /v1/jobs/{uuid}/cancel`; may be empty. */
export const CancelJobBody = Type.Object(
  {
    reason: Type.Optional(Nullable(Type.String({ maxLength: 1024, examples: ['Cancelled by user'] }))),
    stop_grace_ms: Type.Optional(
      Nullable(
        Type.Integer({
          minimum: 0,
          maximum: 300_000,
          description: 'milliseconds between the stop signal and KILL',
        }),
      ),
    ),
    wait_ms: Type.Optional(
      Nullable(
        Type.Integer({
          minimum: 0,
          maximum: 60_000,
          description: 'answer when teardown ends, or after this time',
        }),
      ),
    ),
  },
  { additionalProperties: false },
);
export type CancelJobBody = Static<typeof CancelJobBody>;

/** Body of `POST /v1/jobs/{uuid}/renew`; may be empty. */
export const RenewJobBody = Type.Object({}, { additionalProperties: false });

export const NodeUrl = Type.Object({
  description: Type.String({ description: 'ssh, or the container port' }),
  hostname: Type.String(),
  port: Type.Integer(),
  protocol: Type.Literal('tcp'),
  tls: Type.Boolean(),
  ready: Type.Boolean({ description: 'the port accepts connections' }),
  host_key_fingerprint: Type.Optional(
    Nullable(Type.String({ description: 'of the SSH server, once it answers' })),
  ),
});
export type NodeUrl = Static<typeof NodeUrl>;

export const Teardown = Type.Object({
  state: Words(teardownStates),
  requested_at: Timestamp,
  deadline_at: Nullable(Timestamp),
});

export const Job = Type.Object({
  object: Type.Literal('job'),
  uuid: Uuid,
  created_at: Timestamp,
  updated_at: Timestamp,
  status: Words(jobStatuses),
  task: Words(jobTasks),
  title: Type.String(),
  description: Nullable(Type.String()),
  cpu_count: Nullable(Type.Number()),
  gpu_count: Nullable(Type.Number()),
  gpu_name: Nullable(Type.String()),
  gpu_registry_uuid: Nullable(Uuid),
  min_ram_gb: Type.Number(),
  min_vram_gb: Type.Number(),
  min_storage_gb: Type.Number(),
  allowed_region_codes: Type.Array(Type.String()),
  parameters: Type.Object({
    type: Type.Literal('docker'),
    parameters: Type.Object({
      image: Type.String(),
      tag: Type.String(),
      host: Type.String(),
      user: Type.String(),
      secret: Type.String({ description: 'always *** when one is stored' }),
      imagesrc: Type.String(),
      ports: Nullable(Type.Array(Type.Integer())),
      env: Type.Record(Type.String(), Type.String()),
      sshkey: Type.String(),
      allowed_ips: Type.Array(Type.String()),
      volumes: Type.Array(
        Type.Object({
          image: Type.String(),
          tag: Type.String(),
          registry: Type.String(),
          user: Type.String(),
          secret: Type.String(),
          mount: Type.String(),
        }),
      ),
      command: Nullable(Type.Array(Type.String())),
      entrypoint: Nullable(Type.Array(Type.String())),
      stop_signal: Nullable(Type.String()),
      stop_grace_ms: Nullable(Milliseconds),
    }),
  }),
  timeout_assign_at_ms: Nullable(
    Type.Integer({ description: 'epoch milliseconds; deadline for finding a node' }),
  ),
  started_at: Nullable(Timestamp),
  completed_at: Nullable(Timestamp),
  max_timeout_assign_ms: Nullable(Milliseconds),
  max_timeout_run_ms: Nullable(Milliseconds),
  max_timeout_start_ms: Nullable(Milliseconds),
  start_timeout_waits_for_pull: Type.Boolean(),
  max_retry_count: Nullable(Type.Integer()),
  max_node_count: Nullable(Type.Integer()),
  on_node_lost: NullableWords(nodeLossPolicies, { description: 'null for a BATCH job' }),
  image_size_bytes: Nullable(Type.Integer()),
  max_cost_usd: Nullable(Type.Number()),
  renew_within_ms: Nullable(Milliseconds),
  renew_by: Nullable(
    Type.String({
      format: 'date-time',
      description: 'stopped then unless it is renewed; null before its start',
    }),
  ),
  idle_timeout_ms: Nullable(Milliseconds),
  container_access_tokens: Type.Array(Type.Object({ token: Type.String(), user: Type.String() })),
  status_reason: Nullable(Type.String()),
  status_detail: Type.Unsafe<Record<string, unknown> | null>({
    type: ['object', 'null'],
    additionalProperties: true,
  }),
  source_recipe_uuid: Nullable(Uuid),
  source_recipe_version: Nullable(Type.Integer()),
  node_urls: Type.Array(NodeUrl),
  endpoint_url: Nullable(Type.String({ description: 'the first application port as a URL' })),
  labels: Labels,
  priority: Type.Integer(),
  teardown: Type.Unsafe<Static<typeof Teardown> | null>({ ...Teardown, type: ['object', 'null'] }),
  pending_reason: Type.Unsafe<PendingReason | null>({
    type: ['object', 'null'],
    required: ['code', 'message', 'excluded', 'nodes_considered', 'would_fit'],
    properties: {
      code: { type: 'string' },
      message: { type: 'string' },
      excluded: { type: 'object', additionalProperties: { type: 'integer' } },
      nodes_considered: { type: 'integer' },
      would_fit: {
        type: ['string', 'null'],
        description: 'the smallest change that would make the job fit now',
      },
    },
  }),
  queue_position: Type.Optional(
    Nullable(Type.Integer({ description: 'of a PENDING job as of the last scheduler pass; on GET of one' })),
  ),
});
export type Job = Static<typeof Job>;
export const JobList = ListOf(Job);

/** Why a job waits: a code, nodes excluded per reason, and what would make it fit now. */
export interface PendingReason {
  code: string;
  message: string;
  excluded: Record<string, number>;
  nodes_considered: number;
  would_fit: string | null;
}
