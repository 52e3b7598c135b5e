// Wire shapes of events, of the messages that streams carry beside them, and of the tickets that open streams.
import Type, { type Static } from 'typebox';
import { ListOf } from './list.ts';
import { Nullable, Timestamp, Uuid } from './schema.ts';

export const Event = Type.Object({
  object: Type.Literal('event'),
  id: Type.Integer({ description: 'rises with the changes of one job' }),
  kind: Type.String({
    description: 'submitted, placed, preparing, running, exited, released, stop_requested, …',
  }),
  job_uuid: Nullable(Uuid),
  job_run_uuid: Nullable(Uuid),
  from_status: Nullable(
    Type.String({ description: 'of the job for placed, assign_timeout and stop_requested, else of the run' }),
  ),
  to_status: Nullable(Type.String()),
  actor: Type.Record(Type.String(), Type.Unknown(), { description: 'who' }),
  detail: Nullable(Type.Record(Type.String(), Type.Unknown())),
  created_at: Timestamp,
});
export type Event = Static<typeof Event>;
export const EventList = ListOf(Event);

/** Why a stream ends; after all but `complete` a client comes back with the last id. */
export const streamEnds = ['complete', 'stopping', 'too_slow', 'key_ended', 'failed'] as const;
export type StreamEnd = (typeof streamEnds)[number];

/** Body of `POST /v1/stream-tickets`. */
export const StreamTicketBody = Type.Object(
  {
    path: Type.String({
      maxLength: 256,
      pattern: '^/v1/(events|jobs/[0-9a-fA-F-]{36}/events|job-runs/[0-9a-fA-F-]{36}/logs)$',
      description: 'of the stream, without a query',
    }),
  },
  { additionalProperties: false },
);
export type StreamTicketBody = Static<typeof StreamTicketBody>;

export const StreamTicket = Type.Object({
  object: Type.Literal('stream_ticket'),
  ticket: Type.String(),
  path: Type.String({ description: 'with the ticket, for one EventSource; add &last_event_id= to resume' }),
  expires_at: Timestamp,
});
export type StreamTicket = Static<typeof StreamTicket>;
