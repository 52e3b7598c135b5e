// Wire shapes of a node: a machine that runs job runs (reference: nodes pages), and its registration.
import Type, { type Static } from 'typebox';
import { ListOf } from './list.ts';
import { Labels, Nullable, Timestamp, Uuid, Words } from './schema.ts';

export const nodeStatuses = [
  // `not_ready`: it is heard, but its container engine does not answer.
  ...['offline', 'ready', 'not_ready', 'unreachable', 'lost'],
  ...['cordoned', 'draining', 'removed'],
] as const;
export type NodeStatus = (typeof nodeStatuses)[number];

const Freely = Type.Unsafe<Record<string, unknown>>({ type: 'object', additionalProperties: true });
const Capacity = Nullable(Type.Number({ description: 'bytes' }));
const Percent = Type.Number({ minimum: 0, maximum: 100, description: 'percent' });

/** What the node is made of; beside these fields stands all else that its agent tells. */
export const NodeHardware = Type.Object(
  {
    object: Type.Literal('node_hardware'),
    uuid: Uuid,
    cpus: Type.Array(
      Type.Object({
        name: Type.String(),
        vendor: Nullable(Type.String()),
        num_cores: Type.Number(),
        num_threads: Type.Number(),
        architecture: Type.String(),
        base_clock_mhz: Nullable(Type.Number()),
        chipset: Nullable(Type.String()),
        device_id: Nullable(Type.String()),
        features: Type.Array(Type.String()),
      }),
    ),
    gpus: Type.Array(
      Type.Object(
        { name: Type.String(), device_id: Type.String(), vram_gb_max: Type.Number() },
        { additionalProperties: true },
      ),
    ),
    hard_drives: Type.Array(
      Type.Object({
        name: Type.String(),
        model: Nullable(Type.String()),
        max_capacity_gb: Type.Number(),
        is_rotational: Nullable(Type.Boolean()),
      }),
    ),
    rams: Type.Array(Type.Object({ memory_gb_max: Type.Number() })),
    gpu_note: Type.Optional(
      Nullable(Type.String({ description: 'why GPUs could not be read or used, if so' })),
    ),
    isolation_note: Type.Optional(
      Nullable(Type.String({ description: 'why isolation is not enforced, if so' })),
    ),
  },
  { additionalProperties: true },
);
export type NodeHardware = Static<typeof NodeHardware>;

/** How loaded the node was at its last sample. */
export const HardwareEvent = Type.Object({
  object: Type.Literal('node_hardware_event'),
  uuid: Uuid,
  timestamp_ms: Type.Integer(),
  created_at: Timestamp,
  updated_at: Timestamp,
  node: Uuid,
  node_hardware: Uuid,
  account: Uuid,
  metadata: Type.Object({
    cpu: Type.Object({ average: Percent, cores: Type.Array(Percent) }),
    gpu: Type.Object({
      average: Nullable(Percent),
      gpus: Type.Array(
        Type.Object({
          uuid: Type.String(),
          name: Type.String(),
          load: Nullable(Percent),
          vram: Type.Object({ free: Capacity, total: Capacity }),
        }),
      ),
    }),
    ram: Type.Object({ free: Capacity, total: Capacity }),
    storage: Type.Object({
      hard_drives: Type.Array(
        Type.Object({
          name: Type.String(),
          model: Nullable(Type.String()),
          free_capacity: Capacity,
          total_capacity: Capacity,
        }),
      ),
    }),
    network: Type.Object(
      { rx_bytes: Capacity, tx_bytes: Capacity },
      { description: 'moved in the ten seconds before, over the interfaces with a default route' },
    ),
  }),
});
export type HardwareEvent = Static<typeof HardwareEvent>;

/** A container of this cluster that the node's agent found and the database does not know. */
export const Orphan = Type.Object({
  run_uuid: Uuid,
  attempt: Type.Integer(),
  state: Words(['created', 'running', 'exited']),
  first_seen_at: Timestamp,
  removal_at: Nullable(
    Type.String({ format: 'date-time', description: 'null: it stays until flotilla node accept-restore' }),
  ),
});

export const NodeDrain = Type.Object({
  requested_at: Timestamp,
  deadline_at: Timestamp,
  runs_left: Type.Integer({ description: 'runs that hold resources still' }),
});

export const Node = Type.Object({
  object: Type.Literal('node'),
  _id: Uuid,
  uuid: Uuid,
  name: Type.String(),
  status: Words(nodeStatuses),
  status_reason: Nullable(Type.String()),
  is_cordoned: Type.Boolean({ description: 'takes no new work, by an operator' }),
  drain: Type.Unsafe<Static<typeof NodeDrain> | null>({
    ...NodeDrain,
    type: ['object', 'null'],
    description: 'null: none is under way',
  }),
  awaits_restore_word: Type.Boolean({
    description: 'the database was restored: the node removes nothing and takes no work until accept-restore',
  }),
  orphans: Type.Array(Orphan),
  region_code: Nullable(Type.String()),
  labels: Labels,
  reputation: Type.Number({
    minimum: 0,
    maximum: 100,
    description: 'how well the node keeps its promises; 50 for one that nobody knows',
  }),
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
  current_hardware: Type.Unsafe<NodeHardware | null>({
    ...NodeHardware,
    type: ['object', 'null'],
    description: 'null: its agent was never here',
  }),
  latest_hardware_event: Type.Unsafe<HardwareEvent | null>({
    ...HardwareEvent,
    type: ['object', 'null'],
    description: 'null: its agent sends no samples, or has sent none yet',
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

const Reason = Type.Optional(
  Nullable(Type.String({ maxLength: 1024, description: 'kept in the events of the node' })),
);

/** Body of cordon, uncordon and accept-restore; may be empty. */
export const ChangeNodeBody = Type.Object({ reason: Reason }, { additionalProperties: false });
export type ChangeNodeBody = Static<typeof ChangeNodeBody>;

/** Body of `PUT /v1/nodes/{uuid}/drain`; may be empty. */
export const DrainNodeBody = Type.Object(
  {
    reason: Reason,
    deadline_ms: Type.Optional(
      Nullable(
        Type.Integer({
          minimum: 0,
          maximum: 2_592_000_000,
          default: 3_600_000,
          description: 'runs that are left after this time are stopped',
        }),
      ),
    ),
  },
  { additionalProperties: false },
);

export type DrainNodeBody = Static<typeof DrainNodeBody>;

/** Body of `PUT /v1/nodes/{uuid}/remove`; may be empty. */
export const RemoveNodeBody = Type.Object(
  {
    reason: Reason,
    force: Type.Optional(
      Nullable(Type.Boolean({ default: false, description: 'also a lost node, whose containers may live' })),
    ),
  },
  { additionalProperties: false },
);

export type RemoveNodeBody = Static<typeof RemoveNodeBody>;

export const nodeEventKinds = [
  ...['registered', 'ready', 'unreachable', 'lost', 'engine_away', 'engine_back'],
  ...['cordoned', 'uncordoned', 'drain_requested', 'drained', 'removed'],
  ...['restore_suspected', 'restore_accepted'],
] as const;
export type NodeEventKind = (typeof nodeEventKinds)[number];

/** One change of a node: what, when, who, and why. */
export const NodeEvent = Type.Object({
  object: Type.Literal('node_event'),
  id: Type.Integer(),
  node_uuid: Uuid,
  created_at: Timestamp,
  kind: Words(nodeEventKinds),
  actor: Freely,
  detail: Type.Unsafe<Record<string, unknown> | null>({
    type: ['object', 'null'],
    additionalProperties: true,
  }),
});
export type NodeEvent = Static<typeof NodeEvent>;
export const NodeEventList = ListOf(NodeEvent);
