// Wire shapes of a node: a machine that runs job runs (reference: nodes pages), and its registration.
import Type, { type Static } from 'typebox';
import { ListOf } from './list.ts';
import { Labels, Nullable, Timestamp, Uuid, Words } from './schema.ts';

export const nodeStatuses = ['offline', 'ready', 'unreachable', 'lost', 'cordoned'] as const;
export type NodeStatus = (typeof nodeStatuses)[number];

export const Node = Type.Object({
  object: Type.Literal('node'),
  _id: Uuid,
  uuid: Uuid,
  name: Type.String(),
  status: Words(nodeStatuses),
  status_reason: Nullable(Type.String()),
  region_code: Nullable(Type.String()),
  labels: Labels,
  reputation: Type.Number(),
  isolation: Words(['enforced', 'none']),
  agent_version: Nullable(Type.String()),
  cpus: Type.Array(Type.Object({ name: Type.String(), num_cores: Type.Number() })),
  gpus: Type.Array(
    Type.Object({
      uuid: Type.String(),
      name: Type.String(),
      vram_gb_available: Type.Number(),
      vram_gb_max: Type.Number(),
      is_allocated: Type.Boolean(),
      is_quarantined: Type.Boolean({ description: 'not clean after a run: takes no other until it is' }),
      quarantine_reason: Nullable(Type.String()),
    }),
  ),
  hard_drives: Type.Array(
    Type.Object({
      name: Type.String(),
      available_capacity_gb: Type.Number(),
      max_capacity_gb: Type.Number(),
    }),
  ),
  rams: Type.Array(Type.Object({ memory_gb_available: Type.Number(), memory_gb_max: Type.Number() })),
  ramTotal: Type.Number({ description: 'GB' }),
  job_run_count: Type.Integer({ description: 'runs that hold resources now' }),
  current_hardware: Type.Unsafe<Record<string, unknown> | null>({
    type: ['object', 'null'],
    additionalProperties: true,
  }),
  created_at: Timestamp,
  updated_at: Timestamp,
  last_seen_at: Nullable(Timestamp),
});
export type Node = Static<typeof Node>;
export const NodeList = ListOf(Node);

/** Body of `POST /v1/nodes`: registers a node and makes its key. */
export const CreateNodeBody = Type.Object(
  {
    name: Type.String({ minLength: 1, maxLength: 128, pattern: '^[A-Za-z0-9][A-Za-z0-9._-]*$' }),
    region_code: Type.Optional(Nullable(Type.String({ maxLength: 32 }))),
    labels: Type.Optional(Nullable(Labels)),
  },
  { additionalProperties: false },
);
export type CreateNodeBody = Static<typeof CreateNodeBody>;

/** The node and its key; the secret is shown this once. */
export const CreatedNode = Type.Object({
  ...Node.properties,
  key: Type.Object({ public_key: Type.String(), secret_key: Type.String() }),
});
export type CreatedNode = Static<typeof CreatedNode>;
