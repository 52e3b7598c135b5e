// What a node is made of, and samples of what it and its runs use, as agents send them; fractions are 0 to 1, and what moved
// is since the sample before.
import Type, { type Static } from 'typebox';
import { Nullable, Uuid } from './schema.ts';

// Bounds that every column and every sum of five minutes holds: the samples of all nodes are written together.
const SpanMs = Type.Integer({ minimum: 1, maximum: 3_600_000 });
const Bytes = Nullable(Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER }));
const Fraction = Nullable(Type.Number({ minimum: 0, maximum: 1 }));

/** The parts of a machine, as far as it tells of them. */
export const HardwareParts = Type.Object({
  cpus: Type.Array(
    Type.Object({
      name: Type.String({ maxLength: 256 }),
      vendor: Nullable(Type.String({ maxLength: 64 })),
      num_cores: Type.Integer({ minimum: 1 }),
      num_threads: Type.Integer({ minimum: 1 }),
      base_clock_mhz: Nullable(Type.Number({ minimum: 0 })),
      /** Instruction sets that programs ask for, as the kernel names them. */
      features: Type.Array(Type.String({ maxLength: 32 }), { maxItems: 64 }),
    }),
    { maxItems: 64 },
  ),
  hard_drives: Type.Array(
    Type.Object({
      name: Type.String({ maxLength: 64 }),
      model: Nullable(Type.String({ maxLength: 128 })),
      size_bytes: Type.Integer({ minimum: 0 }),
      is_rotational: Type.Boolean(),
    }),
    { maxItems: 256 },
  ),
});
export type HardwareParts = Static<typeof HardwareParts>;

/** What a node and a run are both measured by; null: it could not be seen. */
const usage = {
  /** CPUs in use, on average since the sample before. */
  cpu_cores: Nullable(Type.Number({ minimum: 0, maximum: 65_536 })),
  memory_bytes: Bytes,
  /** On average over the GPUs. */
  gpu_utilisation: Fraction,
  gpu_memory_bytes: Bytes,
  network_rx_bytes: Bytes,
  network_tx_bytes: Bytes,
  disk_read_bytes: Bytes,
  disk_written_bytes: Bytes,
};
export const Usage = Type.Object(usage);
export type Usage = Static<typeof Usage>;

const GpuLoad = Type.Object({
  uuid: Type.String({ pattern: '^[A-Za-z0-9_-]{1,128}$' }),
  utilisation: Fraction,
  memory_used_bytes: Bytes,
});
export type GpuLoad = Static<typeof GpuLoad>;

/** The machine as a whole. */
export const NodeLoad = Type.Object({
  ...usage,
  /** Of each CPU. */
  core_loads: Type.Array(Type.Number({ minimum: 0, maximum: 1 }), { maxItems: 4_096 }),
  memory_free_bytes: Bytes,
  memory_total_bytes: Bytes,
  storage_free_bytes: Bytes,
  storage_total_bytes: Bytes,
  gpus: Type.Array(GpuLoad, { maxItems: 1_024 }),
});
export type NodeLoad = Static<typeof NodeLoad>;

export const RunUsage = Type.Object({
  run_uuid: Uuid,
  /** Absent: the span of the sample; a run that began within it has a shorter one. */
  span_ms: Type.Optional(SpanMs),
  ...usage,
});
export type RunUsage = Static<typeof RunUsage>;

/** Sent every `sample_ms` of the welcome, and never where the welcome names none: that server does not know it. */
export const Sample = Type.Object({
  type: Type.Literal('sample'),
  /** The time that it covers, by the agent's monotonic clock. */
  span_ms: SpanMs,
  node: NodeLoad,
  runs: Type.Array(RunUsage, { maxItems: 10_000 }),
});
export type Sample = Static<typeof Sample>;
