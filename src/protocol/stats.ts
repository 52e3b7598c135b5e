// Wire shapes of what runs and nodes used over time.
import Type, { type Static } from 'typebox';
import { Nullable, Timestamp, Uuid } from './schema.ts';

const Bytes = (description: string) => Nullable(Type.Integer({ description }));
const BytesPerSecond = (description: string) => Nullable(Type.Number({ description }));

/** One step; null: that could not be measured. */
export const StatsPoint = Type.Object({
  timestamp_ms: Type.Integer({ description: 'epoch milliseconds when the step begins' }),
  cpu_cores: Nullable(Type.Number({ description: 'CPUs in use, on average' })),
  cpu_cores_max: Nullable(Type.Number({ description: 'the most that a sample of ten seconds told' })),
  memory_bytes: Bytes('on average, without file caches that nobody uses'),
  memory_bytes_max: Bytes('the most that a sample told'),
  gpu_utilisation: Nullable(
    Type.Number({ description: '0 to 1, on average over the GPUs; null without one' }),
  ),
  gpu_memory_bytes: Bytes('of all its GPUs, on average'),
  network_rx_bytes_per_second: BytesPerSecond('received'),
  network_tx_bytes_per_second: BytesPerSecond('sent'),
  disk_read_bytes_per_second: BytesPerSecond('read from disks'),
  disk_written_bytes_per_second: BytesPerSecond('written to disks'),
});
export type StatsPoint = Static<typeof StatsPoint>;

const series = {
  from: Timestamp,
  to: Timestamp,
  step_ms: Type.Integer({
    description: 'between two points; what is older than an hour has one every 5 minutes at most',
  }),
  points: Type.Array(StatsPoint, { description: 'in order of time; steps without a sample are left out' }),
};

export const JobRunStats = Type.Object({
  object: Type.Literal('job_run_stats'),
  job_run_uuid: Uuid,
  ...series,
});
export type JobRunStats = Static<typeof JobRunStats>;

export const NodeStats = Type.Object({ object: Type.Literal('node_stats'), node_uuid: Uuid, ...series });
export type NodeStats = Static<typeof NodeStats>;

const Time = Type.String({ examples: ['2026-01-31T12:00:00Z'] });
export const StatsQuery = Type.Object({
  from: Type.Optional({ ...Time, description: 'a time (RFC 3339); default: the start of the run' }),
  to: Type.Optional({ ...Time, description: 'a time (RFC 3339); default: the end of the run, or now' }),
  step_ms: Type.Optional(
    Type.Integer({ minimum: 10_000, description: 'default: so that there are at most 300 points' }),
  ),
});
