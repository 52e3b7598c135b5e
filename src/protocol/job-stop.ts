// Wire shapes of the bulk stop: which jobs, and what became of each.
import Type, { type Static } from 'typebox';
import { jobStatuses } from '../domain/job.ts';
import { CancelJobBody } from './job.ts';
import { Nullable, NullableWords, Timestamp, Uuid, Words } from './schema.ts';

/** One value, several separated by commas as in the query of a list, or an array of them. */
function Values(description: string) {
  return Type.Unsafe<string | readonly string[]>({
    type: ['string', 'array'],
    minItems: 1,
    maxItems: 500,
    items: { type: 'string' },
    description,
  });
}

/** All that is given must hold; each as the filter of that name in `GET /v1/jobs`. */
export const JobFilter = Type.Object(
  {
    status: Type.Optional(
      Values('words of PENDING, ASSIGNED, RUNNING; jobs that have ended stay as they are'),
    ),
    task: Type.Optional(Values('BATCH, PERSISTENT')),
    uuid: Type.Optional(Values('uuids; each of them is answered for')),
    created_at: Type.Optional(Values('a date or time, or an inclusive range of two (UTC)')),
    older_than_ms: Type.Optional(
      Type.Integer({ minimum: 1, maximum: 1e15, description: 'created at least this long ago' }),
    ),
    title_prefix: Type.Optional(
      Type.String({ minLength: 1, maxLength: 256, description: 'the first characters of the title' }),
    ),
    label: Type.Optional(Values('key=value pairs; a job must have all of them')),
  },
  { additionalProperties: false },
);
export type JobFilter = Static<typeof JobFilter>;

/** Body of `POST /v1/jobs/cancel`: a filter, or `all: true` in its place. */
export const CancelJobsBody = Type.Object(
  {
    filter: Type.Optional(JobFilter),
    all: Type.Optional(
      Type.Boolean({
        description: 'true: every job of the account that has not ended, in the place of a filter',
      }),
    ),
    dry_run: Type.Optional(
      Type.Boolean({ description: 'true: tells what would be stopped, and stops nothing' }),
    ),
    reason: CancelJobBody.properties.reason,
    stop_grace_ms: CancelJobBody.properties.stop_grace_ms,
  },
  { additionalProperties: false },
);
export type CancelJobsBody = Static<typeof CancelJobsBody>;

/** `unchanged`: it had ended, or did not match the rest of the filter. */
export const stopOutcomes = ['stopped', 'would_stop', 'unchanged', 'not_found'] as const;

export const JobStopOutcome = Type.Object({
  uuid: Uuid,
  outcome: Words(stopOutcomes),
  title: Nullable(Type.String()),
  previous_status: NullableWords(jobStatuses),
  has_container: Type.Boolean({
    description: 'a container is being stopped, or would be: see the teardown of the job',
  }),
});
export type JobStopOutcome = Static<typeof JobStopOutcome>;

export const JobStops = Type.Object({
  object: Type.Literal('job_stops'),
  dry_run: Type.Boolean(),
  cut_off_at: Timestamp,
  is_complete: Type.Boolean({ description: 'false: time was up and more jobs match; repeat the request' }),
  counts: Type.Object({
    stopped: Type.Integer(),
    would_stop: Type.Integer(),
    unchanged: Type.Integer(),
    not_found: Type.Integer(),
  }),
  jobs: Type.Array(JobStopOutcome, { description: 'the first 1,000; counts are of all' }),
});
export type JobStops = Static<typeof JobStops>;
