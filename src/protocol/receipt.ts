// Wire shape of a receipt: what was seen of the end of a job's run, line by line, with the milliseconds of each step.
import Type, { type Static } from 'typebox';
import { jobRunStatuses, jobStatuses } from '../domain/job.ts';
import { Nullable, NullableWords, Timestamp, Uuid, Words } from './schema.ts';

export const receiptStates = ['open', 'verified', 'unverified'] as const;

/** `none`: there never was one; `failed`: seen, and it is not so; `not_observed`: nobody could look. */
export const lineStates = ['proved', 'none', 'open', 'failed', 'not_observed'] as const;

const Line = Type.Object({
  state: Words(lineStates, {
    description:
      'proved: it was seen to be so; none: there never was one; open: not yet; failed: it was seen not to be so; not_observed: nobody could look',
  }),
  text: Type.String({ description: 'the same for people, with the reason where there is one' }),
});
export type ReceiptLine = Static<typeof Line>;

const Gpu = Type.Object({
  uuid: Type.String(),
  state: Words(['clean', 'dirty', 'not_seen']),
  text: Nullable(Type.String()),
  baseline_mib: Nullable(Type.Integer({ description: 'memory in use before the run' })),
  used_mib: Nullable(Type.Integer({ description: 'memory in use after it' })),
});

export const receiptSteps = [
  ...['requested', 'ports_closed', 'delivered', 'signalled', 'killed', 'cgroup_killed', 'exited'],
  ...['log_stored', 'removed', 'processes_gone', 'networks_gone', 'volumes_gone', 'gpus_clean'],
  ...['verified'],
] as const;
export type ReceiptStepName = (typeof receiptSteps)[number];

export const stepStates = ['done', 'open', 'not_needed', 'not_observed', 'failed'] as const;

const Step = Type.Object({
  step: Words(receiptSteps),
  state: Words(stepStates),
  clock: {
    ...NullableWords(['server', 'agent']),
    description:
      "whose clock ms is of. server: since the stop was asked for (or the end was told), by the database's clock. agent: since the node's agent first heard of the stop (or saw the exit), by its monotonic clock. The two have no common zero",
  },
  ms: Nullable(Type.Integer()),
  at: Nullable(
    Type.String({
      format: 'date-time',
      description: 'server time: when it happened there, or when the report of it arrived',
    }),
  ),
  text: Nullable(Type.String()),
});
export type ReceiptStep = Static<typeof Step>;

export const Receipt = Type.Object({
  object: Type.Literal('receipt'),
  job_uuid: Uuid,
  job_status: Words(jobStatuses),
  run_uuid: { ...Nullable(Uuid), description: 'null: the job never had a run' },
  run_status: NullableWords(jobRunStatuses),
  attempt: Nullable(Type.Integer()),
  node_uuid: Nullable(Uuid),
  container_id: Nullable(Type.String({ description: "the engine's name for the container, once it ran" })),
  state: {
    ...NullableWords(receiptStates),
    description: 'null: the run goes on, there is nothing to prove',
  },
  summary: Type.String({ description: 'one sentence for people' }),
  stop: Type.Unsafe<ReceiptStop | null>({
    type: ['object', 'null'],
    required: ['text', 'by', 'at'],
    properties: {
      text: { type: 'string' },
      by: { type: ['object', 'null'], additionalProperties: true },
      at: { type: ['string', 'null'], format: 'date-time' },
    },
    description: 'who stopped the job, and why; null: nobody did',
  }),
  cause: Type.Unsafe<Record<string, unknown> | null>({
    type: ['object', 'null'],
    additionalProperties: true,
    description: "why the run ended: the run's status_detail",
  }),
  requested_at: Nullable(Timestamp),
  grace_ms: Nullable(Type.Integer()),
  deadline_at: Nullable(Timestamp),
  exit: Type.Unsafe<ReceiptExit | null>({
    type: ['object', 'null'],
    required: ['code', 'signal', 'is_oom_killed', 'at'],
    properties: {
      code: { type: ['integer', 'null'] },
      signal: { type: ['string', 'null'] },
      is_oom_killed: { type: 'boolean' },
      at: { type: ['string', 'null'], format: 'date-time' },
    },
    description: 'null: no container ended, or nobody saw it',
  }),
  proof: Type.Object({
    container: Line,
    processes: Line,
    networks: Line,
    volumes: Line,
    gpus: Line,
    ports: Line,
    tokens: Line,
    log: Line,
  }),
  gpus: Type.Array(Gpu),
  is_stuck: Type.Boolean({
    description: 'the teardown is past its deadline and goes on; the node is cordoned',
  }),
  steps: Type.Array(Step),
  verified_at: Nullable(Timestamp),
});
export type Receipt = Static<typeof Receipt>;
export type ReceiptProof = Receipt['proof'];

export interface ReceiptStop {
  text: string;
  by: Record<string, unknown> | null;
  at: string | null;
}

export interface ReceiptExit {
  code: number | null;
  signal: string | null;
  is_oom_killed: boolean;
  at: string | null;
}
