// What the API needs of data connections: a byte stream to something inside a run's container.
import type { Duplex } from 'node:stream';
import type { FilesRequest } from '../protocol/data-streams.ts';
import type { ExecRequest } from '../protocol/exec.ts';

/** What the other end of a stream should be. */
export type StreamTarget = { kind: 'exec'; request: ExecRequest } | { kind: 'files'; request: FilesRequest };

export interface RunStreams {
  /** Rejects with a StreamRefused when the node or its agent says no. */
  open(run: { nodeId: string; runId: string }, target: StreamTarget): Promise<Duplex>;
}
