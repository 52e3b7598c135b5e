// Wire shapes of exec: a signed request buys a one-time ticket, and the WebSocket it opens carries frames.
import Type, { type Static } from 'typebox';
import { Nullable, Timestamp, Uuid } from './schema.ts';

/** Body of `POST /v1/job-runs/{uuid}/exec`. */
export const ExecBody = Type.Object(
  {
    command: Type.Array(Type.String({ maxLength: 131_072 }), { minItems: 1, maxItems: 1024 }),
    tty: Type.Optional(Nullable(Type.Boolean({ description: 'a terminal: one stream, resizable' }))),
    cols: Type.Optional(Nullable(Type.Integer({ minimum: 1, maximum: 10_000 }))),
    rows: Type.Optional(Nullable(Type.Integer({ minimum: 1, maximum: 10_000 }))),
  },
  { additionalProperties: false },
);
export type ExecBody = Static<typeof ExecBody>;

export const ExecTicket = Type.Object({
  object: Type.Literal('exec_ticket'),
  job_run_uuid: Uuid,
  ticket: Type.String({ description: 'good for one WebSocket, for 60 s' }),
  path: Type.String({ description: 'open this path of the same server as a WebSocket' }),
  expires_at: Timestamp,
});
export type ExecTicket = Static<typeof ExecTicket>;

/** What a running exec is told to run, from the server to the agent. */
export interface ExecRequest {
  command: string[];
  tty: boolean;
  cols: number | null;
  rows: number | null;
}

/** First byte of every frame, on the WebSocket and on the stream behind it. */
export const channels = {
  /** Client to program; an empty payload closes its standard input. */
  stdin: 0,
  stdout: 1,
  stderr: 2,
  /** Client: JSON `{cols, rows}`. */
  resize: 3,
  /** Last frame: JSON `{exit_code}`. */
  exit: 4,
  /** Last frame: JSON `{code, message, exit_code?}`: the program could not be run, or its end is not known. */
  error: 5,
} as const;

const maxSize = 10_000;

/** The size in a resize frame; null: not one. */
export function readSize(payload: Uint8Array): { cols: number; rows: number } | null {
  if (payload.length > 100) return null;
  try {
    const { cols, rows } = JSON.parse(new TextDecoder().decode(payload)) as Record<string, unknown>;
    const isSize = (value: unknown): value is number =>
      typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= maxSize;
    return isSize(cols) && isSize(rows) ? { cols, rows } : null;
  } catch {
    return null;
  }
}
