// Wire shapes of a job run: one attempt of a job on one node, and its logs.
import Type, { type Static } from 'typebox';
import { jobRunStatuses } from '../domain/job.ts';
import { NodeUrl, Teardown } from './job.ts';
import { ListOf } from './list.ts';
import { Nullable, Timestamp, Uuid, Words } from './schema.ts';

const nullableObject = { type: ['object', 'null'], additionalProperties: true };

export const JobRun = Type.Object({
  object: Type.Literal('job_run'),
  uuid: Uuid,
  job_uuid: Uuid,
  node_uuid: Uuid,
  attempt: Type.Integer({ minimum: 1 }),
  job_snapshot: Type.Object({ uuid: Uuid, title: Type.String() }, { additionalProperties: true }),
  status: Words(jobRunStatuses),
  status_reason: Nullable(Type.String()),
  status_detail: Type.Unsafe<Record<string, unknown> | null>(nullableObject),
  created_at: Timestamp,
  updated_at: Timestamp,
  started_at_ms: Nullable(Type.Integer({ description: 'epoch milliseconds when the container started' })),
  ended_at_ms: Nullable(Type.Integer()),
  duration_ms: Nullable(Type.Integer({ description: 'grows while running, final at the end' })),
  hourly_rate_usd: Type.Number(),
  node_urls: Type.Array(NodeUrl),
  container_access_tokens: Type.Array(Type.Object({ token: Type.String(), user: Type.String() })),
  refused_connection_count: Type.Integer({ description: 'connections that allowed_ips turned away' }),
  exit_code: Nullable(Type.Integer()),
  exit_signal: Nullable(Type.String()),
  is_oom_killed: Type.Boolean(),
  gpu_uuids: Type.Array(Type.String()),
  image_digest: Nullable(Type.String()),
  progress: Type.Unsafe<PullProgress | null>({
    ...nullableObject,
    description: 'image pull, while PREPARING',
  }),
  teardown: Type.Unsafe<Static<typeof Teardown> | null>({ ...Teardown, type: ['object', 'null'] }),
});
export type JobRun = Static<typeof JobRun>;

/** GET of one run adds its logs as text. */
export const JobRunDetail = Type.Object({ ...JobRun.properties, logs: Type.String() });
export type JobRunDetail = Static<typeof JobRunDetail>;
export const JobRunList = ListOf(JobRun);

/** A slice of a run's log, by byte offset over stdout and stderr in the order they arrived. */
export const JobRunLogs = Type.Object({
  object: Type.Literal('job_run_logs'),
  job_run_uuid: Uuid,
  text: Type.String(),
  offset: Type.Integer({ minimum: 0 }),
  next_offset: Type.Integer({ minimum: 0 }),
  total_bytes: Type.Integer({ minimum: 0 }),
  gap: Type.Unsafe<{ from: number; to: number } | null>({
    type: ['object', 'null'],
    description: 'bytes that were not kept because the log is larger than its cap',
    properties: { from: { type: 'integer' }, to: { type: 'integer' } },
  }),
  is_complete: Type.Boolean({ description: 'no more bytes will follow' }),
  is_end_stored: Type.Unsafe<boolean | null>({
    type: ['boolean', 'null'],
    description:
      'false: no more bytes will follow although the container wrote more, its node could not bring them in time; null: nobody can say, since the run goes on or its node was lost',
  }),
});
export type JobRunLogs = Static<typeof JobRunLogs>;

/** Bytes moved of an image pull; total is null until the registry told all layer sizes. */
export interface PullProgress {
  phase: 'pulling' | 'extracting';
  received_bytes: number;
  total_bytes: number | null;
  bytes_per_second: number | null;
  eta_ms: number | null;
}
