// What the API needs of data connections: a byte stream to something inside a run's container.
import type { Duplex } from 'node:stream';
import type { FilesRequest } from '../protocol/data-streams.ts';
import type { ExecRequest } from '../protocol/exec.ts';
import { ApiError } from './errors.ts';

/** What the other end of a stream should be. */
export type StreamTarget = { kind: 'exec'; request: ExecRequest } | { kind: 'files'; request: FilesRequest };

export interface RunStreams {
  /** Rejects with a StreamRefused when the node or its agent says no. */
  open(run: { nodeId: string; runId: string }, target: StreamTarget): Promise<Duplex>;
}

/** What a client is told when a stream was refused or broke; an agent's word counts where it names what the user can change. */
export function streamFailure(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  const { name, code, message } = error as { name?: unknown; code?: unknown; message?: unknown };
  const isAgents = name === 'StreamRefused' && (code === 'not_found' || code === 'conflict');
  if (isAgents) return new ApiError(code, String(message).slice(0, 300), { cause: error });
  return new ApiError('unavailable', 'The node of this job run cannot be reached right now; try again.', {
    retryAfterSeconds: 2,
    cause: error,
  });
}
