// Messages of the control connection between a node's agent and the hub; every one is a hint to look again.
import Type, { type Static } from 'typebox';
import { jobRunStatuses } from '../domain/job.ts';
import { teardownSteps } from '../domain/receipt.ts';
import { HardwareParts, Sample } from './hardware.ts';
import { RunProof } from './run-proof.ts';
import { Nullable, Uuid, Words } from './schema.ts';

/** Hello carries it; a server of protocol N accepts agents of N and N-1. */
export const protocolVersion = 1;

/** Path of the WebSocket that the agent dials; the upgrade is signed with the node's key. */
export const agentConnectPath = '/v1/agent/connect';

/** The hub closes with it when the agent should dial this very server again; with the other one when it stops. */
export const dialAgainCode = 1001;
export const serverStopsCode = 1012;

/** Path of a data connection, an HTTP upgrade signed with the node's key; `?ticket=` names who asked for it. */
export const agentDataPath = '/v1/agent/data';
/** The protocol word of that upgrade; after it the server opens streams. */
export const dataProtocol = 'flotilla-data';

/** Without a word for this long each side takes the connection for lost; the agent then dials again, perhaps elsewhere. */
export function silenceLimitMs(heartbeatMs: number): number {
  return Math.max(3_000, 3 * heartbeatMs);
}

const Bytes = Type.Integer({ minimum: 0 });
const Duration = Type.Integer({ minimum: 0 });
const Attempt = Type.Integer({ minimum: 1 });
const Detail = Type.String({ maxLength: 4096 });

export const GpuInventory = Type.Object({
  index: Type.Integer({ minimum: 0 }),
  uuid: Type.String({ minLength: 1, maxLength: 128 }),
  name: Type.String({ maxLength: 256 }),
  vram_mib: Type.Integer({ minimum: 0 }),
  driver_version: Nullable(Type.String({ maxLength: 64 })),
  /** Absent: ok. A quarantined one was not clean after a run and takes no other until it is. */
  health: Type.Optional(Words(['ok', 'quarantined'])),
  health_reason: Type.Optional(Type.String({ maxLength: 1024 })),
});
export type GpuInventory = Static<typeof GpuInventory>;

/** What the machine is and has. */
export const Inventory = Type.Object({
  cpu_count: Type.Number({ minimum: 0 }),
  cpu_model: Type.String({ maxLength: 256 }),
  architecture: Type.String({ maxLength: 32 }),
  ram_bytes: Bytes,
  storage_bytes: Type.Integer({
    minimum: 0,
    description: "size of the filesystem that holds the engine's data",
  }),
  storage_free_bytes: Bytes,
  gpus: Type.Array(GpuInventory, { maxItems: 1024 }),
  gpu_note: Nullable(Type.String({ maxLength: 1024, description: 'why GPUs could not be read, if so' })),
  engine: Type.Object({ name: Type.String(), version: Type.String(), api_version: Type.String() }),
  cgroup_version: Type.Integer({ minimum: 1, maximum: 2 }),
  operating_system: Type.String({ maxLength: 256 }),
  isolation: Words(['enforced', 'none']),
  engine_note: Type.Optional(
    Nullable(
      Type.String({
        maxLength: 1024,
        description: 'why the engine does not answer, if so; the rest is as it was before',
      }),
    ),
  ),
  isolation_note: Type.Optional(
    Nullable(Type.String({ maxLength: 1024, description: 'why isolation is not enforced, if so' })),
  ),
  /** Absent from agents that do not tell it. */
  parts: Type.Optional(HardwareParts),
  /** Present where the agent serves public ports itself: the host that clients reach it by. */
  ingress: Type.Optional(Type.Object({ public_host: Type.String({ minLength: 1, maxLength: 253 }) })),
});
export type Inventory = Static<typeof Inventory>;

/** A container of ours that exists on the node, read from its labels. */
export const ObservedContainer = Type.Object({
  run_uuid: Uuid,
  attempt: Attempt,
  state: Words(['created', 'running', 'exited']),
});
export type ObservedContainer = Static<typeof ObservedContainer>;

const PullProgress = Type.Object({
  phase: Words(['pulling', 'extracting']),
  received_bytes: Bytes,
  total_bytes: Nullable(Bytes),
  bytes_per_second: Nullable(Type.Number()),
  eta_ms: Nullable(Type.Integer()),
});

/** Why a container never ran or could not go on; `message` is a sentence for people. */
export const RunError = Type.Object({ code: Type.String({ maxLength: 64 }), message: Detail });
export type RunError = Static<typeof RunError>;

const Preparing = Type.Object({
  kind: Type.Literal('preparing'),
  progress: Type.Unsafe<Static<typeof PullProgress> | null>({ ...PullProgress, type: ['object', 'null'] }),
});
const Running = Type.Object({
  kind: Type.Literal('running'),
  /** Age of the start by the agent's monotonic clock; the server stamps the time. */
  started_ms_ago: Duration,
  /** The engine's name for it; absent from agents that do not tell it. */
  container_id: Type.Optional(Nullable(Type.String({ maxLength: 128 }))),
  image_digest: Nullable(Type.String({ maxLength: 256 })),
  image_size_bytes: Nullable(Bytes),
  /** Container ports to publish: the job's, else the image's EXPOSE list; 22 where the job has an SSH key. */
  ports: Type.Array(Type.Integer({ minimum: 1, maximum: 65_535 }), { maxItems: 256 }),
});
/** A published port accepts connections now, or no longer; for SSH the host key's fingerprint comes with it. */
const PortState = Type.Object({
  kind: Type.Literal('port'),
  container_port: Type.Integer({ minimum: 1, maximum: 65_535 }),
  is_ready: Type.Boolean(),
  host_key: Nullable(Type.String({ maxLength: 128, examples: ['SHA256:…'] })),
});
/** The container is dead, or could not be started (`error` set, `exit_code` null). */
const Exited = Type.Object({
  kind: Type.Literal('exited'),
  exit_code: Nullable(Type.Integer()),
  exit_signal: Nullable(Type.String({ maxLength: 32 })),
  is_oom_killed: Type.Boolean(),
  ended_ms_ago: Duration,
  /** How long the container ran; null when it never did. */
  ran_ms: Nullable(Duration),
  error: Type.Unsafe<RunError | null>({ ...RunError, type: ['object', 'null'] }),
  last_log_lines: Type.String({ maxLength: 16_384 }),
});
/** A teardown as it goes; `delivered`: the agent heard of the stop, `stuck`: it is past its deadline and goes on. */
const TeardownStep = Type.Object({
  kind: Type.Literal('teardown'),
  step: Words(teardownSteps),
  /** By the agent's monotonic clock, since it began with this teardown. */
  after_ms: Type.Optional(Duration),
  reason: Type.Optional(Type.String({ maxLength: 1024 })),
});
/** The end: nothing of the run is left as far as `proof` says. Without one the agent only claims it. */
const Released = Type.Object({
  kind: Type.Literal('released'),
  /** null: this agent did not read its log. */
  is_log_complete: Nullable(Type.Boolean()),
  /** `took_ms` since the first of them, by the agent's monotonic clock. */
  steps: Type.Array(Type.Object({ step: Type.String({ maxLength: 64 }), took_ms: Duration }), {
    maxItems: 64,
  }),
  proof: Type.Optional(RunProof),
});
export const RunEvent = Type.Union([Preparing, Running, PortState, Exited, TeardownStep, Released]);
export type RunEvent = Static<typeof RunEvent>;

export const Hello = Type.Object({
  type: Type.Literal('hello'),
  protocol: Type.Integer(),
  /** Servers that the agent knows, this one included; absent: one. */
  server_count: Type.Optional(Type.Integer({ minimum: 1 })),
  agent_version: Type.String({ maxLength: 64 }),
  /** New at every start of the agent. */
  session_uuid: Uuid,
  inventory: Inventory,
  containers: Type.Array(ObservedContainer, { maxItems: 100_000 }),
  /** The highest cluster generation it has seen, and the runs of the last order that brought new ones. */
  cluster_generation: Type.Optional(Type.Integer({ minimum: 0 })),
  last_orders: Type.Optional(Type.Array(Uuid, { maxItems: 1_000 })),
});
export type Hello = Static<typeof Hello>;
export const Heartbeat = Type.Object({ type: Type.Literal('heartbeat') });
export const InventoryChanged = Type.Object({ type: Type.Literal('inventory'), inventory: Inventory });
/** `sequence` rises within a connection; the hub acknowledges it when the report is stored or refused for good. */
export const Report = Type.Object({
  type: Type.Literal('report'),
  sequence: Type.Integer({ minimum: 1 }),
  run_uuid: Uuid,
  attempt: Attempt,
  event: RunEvent,
});
export const logStreams = ['stdout', 'stderr'] as const;
export type LogStream = (typeof logStreams)[number];
/** Bytes of one stream from `offset` on; `position` lets a restarted agent find the place in the engine's log. */
export const LogChunk = Type.Object({
  type: Type.Literal('log'),
  run_uuid: Uuid,
  attempt: Attempt,
  stream: Words(logStreams),
  offset: Bytes,
  bytes_base64: Type.String({ maxLength: 400_000 }),
  position: Type.String({ maxLength: 128 }),
});
export type LogChunk = Static<typeof LogChunk>;
/** Connections that the agent itself turned away at public ports since it last said so. */
export const Refusals = Type.Object({
  type: Type.Literal('refusals'),
  ports: Type.Array(
    Type.Object({ port: Type.Integer({ minimum: 1, maximum: 65_535 }), count: Type.Integer({ minimum: 1 }) }),
    { maxItems: 10_000 },
  ),
});
/** All containers of this cluster and node that the server did not name: kept for a while, then removed. */
export const Orphans = Type.Object({
  type: Type.Literal('orphans'),
  containers: Type.Array(
    Type.Object({
      ...ObservedContainer.properties,
      /** Until its removal; null: it stays until the admin's word. */
      removal_ms: Type.Optional(Nullable(Duration)),
    }),
    { maxItems: 100_000 },
  ),
});

export const AgentMessage = Type.Union([
  Hello,
  Heartbeat,
  InventoryChanged,
  Report,
  LogChunk,
  Refusals,
  Orphans,
  Sample,
]);
export type AgentMessage = Static<typeof AgentMessage>;

/** What is to run in a container, with secrets in clear: it travels only to the node that runs it. */
export const ContainerOrder = Type.Object({
  image: Type.String(),
  tag: Type.String(),
  registry_host: Nullable(Type.String()),
  registry_user: Nullable(Type.String()),
  registry_secret: Nullable(Type.String()),
  env: Type.Record(Type.String(), Type.String()),
  command: Nullable(Type.Array(Type.String())),
  entrypoint: Nullable(Type.Array(Type.String())),
  stop_signal: Nullable(Type.String()),
  /** For a stop that the node itself decides; absent or null: the default. */
  stop_grace_ms: Type.Optional(Nullable(Duration)),
  /** null: the image's EXPOSE list. */
  ports: Nullable(Type.Array(Type.Integer())),
  has_ssh: Type.Boolean(),
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
});
export type ContainerOrder = Static<typeof ContainerOrder>;

/** What the control plane wants of one run. */
export const DesiredRun = Type.Object({
  run_uuid: Uuid,
  job_uuid: Uuid,
  attempt: Attempt,
  desired: Words(['run', 'stop']),
  /** Last status the server knows: RUNNING without a container means it disappeared, not that it must start. */
  status: Words(jobRunStatuses),
  stop: Type.Unsafe<{ grace_ms: number; requested_ms_ago: number } | null>({
    type: ['object', 'null'],
    required: ['grace_ms', 'requested_ms_ago'],
    properties: {
      grace_ms: { type: 'integer', minimum: 0 },
      requested_ms_ago: { type: 'integer', minimum: 0 },
    },
  }),
  container: ContainerOrder,
  /** Reservations: floors, never caps. */
  cpu_count: Type.Number({ minimum: 0 }),
  ram_bytes: Bytes,
  storage_bytes: Bytes,
  gpu_uuids: Type.Array(Type.String()),
  /** Of its container, once an agent told it: to look for what is left when the container itself is gone. */
  container_id: Type.Optional(Nullable(Type.String())),
  /** Bytes already stored per stream, and the position that came with the last of them. */
  log: Type.Object({
    stdout: Type.Object({ offset: Bytes, position: Nullable(Type.String()) }),
    stderr: Type.Object({ offset: Bytes, position: Nullable(Type.String()) }),
  }),
});
export type DesiredRun = Static<typeof DesiredRun>;

export const Welcome = Type.Object({
  type: Type.Literal('welcome'),
  protocol: Type.Integer(),
  cluster_uuid: Uuid,
  cluster_generation: Type.Integer(),
  node_uuid: Uuid,
  heartbeat_ms: Type.Integer({ minimum: 1 }),
  /** The database was restored: the agent removes nothing until `restore_accepted`. */
  awaits_word: Type.Optional(Type.Boolean()),
  /** How often to send a sample; absent: never. */
  sample_ms: Type.Optional(Type.Integer({ minimum: 1 })),
});
export type Welcome = Static<typeof Welcome>;
/** `is_complete`: the list names every run this node should know; else only those that changed. */
export const Desired = Type.Object({
  type: Type.Literal('desired'),
  is_complete: Type.Boolean(),
  runs: Type.Array(DesiredRun),
});
/** Runs the database knows as ended: what is left of them is removed at once, and only that it is gone is reported. */
export const Kill = Type.Object({
  type: Type.Literal('kill'),
  runs: Type.Array(
    Type.Object({
      run_uuid: Uuid,
      attempt: Attempt,
      container_id: Type.Optional(Nullable(Type.String())),
    }),
  ),
});
export const ReportAck = Type.Object({ type: Type.Literal('report_ack'), sequence: Type.Integer() });
/** All bytes of the stream below `offset` are stored. */
export const LogAck = Type.Object({
  type: Type.Literal('log_ack'),
  run_uuid: Uuid,
  stream: Words(logStreams),
  offset: Bytes,
});
/** Asks the agent for data connections: it dials `agentDataPath` of that server with the ticket, `count` times. */
export const Dial = Type.Object({
  type: Type.Literal('dial'),
  url: Type.String(),
  ticket: Type.String(),
  count: Type.Integer({ minimum: 1, maximum: 64 }),
});
/** A public port that stands for a container port. */
export const NodePort = Type.Object({
  port: Type.Integer(),
  run_uuid: Uuid,
  container_port: Type.Integer(),
  allowed_ips: Type.Array(Type.String()),
});
export type NodePort = Static<typeof NodePort>;
/** All public ports that a node with direct ingress serves itself. */
export const NodePorts = Type.Object({ type: Type.Literal('ports'), ports: Type.Array(NodePort) });
/** The admin's word after a restore: what the database does not know may be removed, at once where it was shown. */
export const RestoreAccepted = Type.Object({
  type: Type.Literal('restore_accepted'),
  cluster_generation: Type.Integer({ minimum: 0 }),
});
/** The last word before the server closes: why this agent may not connect. */
export const Refused = Type.Object({
  type: Type.Literal('refused'),
  code: Type.String(),
  message: Type.String(),
});

export const ServerMessage = Type.Union([
  Welcome,
  Desired,
  Kill,
  ReportAck,
  LogAck,
  Dial,
  NodePorts,
  RestoreAccepted,
  Refused,
]);
export type ServerMessage = Static<typeof ServerMessage>;
