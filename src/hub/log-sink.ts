// Log chunks of agents: stored in batches per node and acknowledged by offset.
import { type Database, DatabaseUnavailable } from '../db/database.ts';
import type { Hints } from '../db/hints.ts';
import { appendLogChunks, type LogCap } from '../db/run-logs.ts';
import type { LogChunk } from '../protocol/agent-messages.ts';
import { createBatcher } from './batcher.ts';
import type { AgentSession } from './session.ts';

export interface LogSinkDeps {
  database: Database;
  hints: Hints;
  cap: LogCap;
  onError: (error: unknown) => void;
}

interface SentChunk {
  session: AgentSession;
  chunk: LogChunk;
}

const maxBatch = 200;
/** Longer than followers let pass before they ask again. */
const wantedMs = 30_000;

/** Stores chunks; one that cannot be stored is not acknowledged, and the agent sends it again after it reconnects. */
export function createLogSink(deps: LogSinkDeps) {
  const tell = createLogHints(deps.hints);
  const giveBack = (error: unknown, batch: SentChunk[]) => {
    deps.onError(error);
    for (const { session } of batch) session.close('log not stored');
  };
  return createBatcher<SentChunk>({
    maxSize: maxBatch,
    onError: giveBack,
    async write(batch) {
      const bySession = Map.groupBy(batch, (entry) => entry.session);
      for (const [session, entries] of bySession) {
        const chunks = entries.map((entry) => entry.chunk);
        await store(session, chunks, { ...deps, tell }).catch((error) => {
          if (error instanceof DatabaseUnavailable) throw error;
          giveBack(error, entries);
        });
      }
    },
  });
}

/** Of new bytes only followers are told: each hint to other replicas costs every commit a little. */
function createLogHints(hints: Hints): (runId: string) => void {
  const wantedUntilMs = new Map<string, number>();
  hints.subscribe((hint) => {
    if (hint.kind === 'log_wanted') wantedUntilMs.set(hint.runId, performance.now() + wantedMs);
  });
  return (runId) => {
    const untilMs = wantedUntilMs.get(runId);
    if (untilMs === undefined) return;
    if (untilMs > performance.now()) hints.publish({ kind: 'log', runId });
    else wantedUntilMs.delete(runId);
  };
}

async function store(
  session: AgentSession,
  chunks: LogChunk[],
  deps: LogSinkDeps & { tell: (runId: string) => void },
): Promise<void> {
  const stored = await appendLogChunks(deps.database, {
    nodeId: session.identity.nodeId,
    cap: deps.cap,
    chunks: chunks.map((chunk) => ({
      runId: chunk.run_uuid,
      stream: chunk.stream,
      offset: chunk.offset,
      bytes: Buffer.from(chunk.bytes_base64, 'base64'),
      position: chunk.position,
    })),
  });
  for (const { runId, stream, offset } of stored) {
    session.send({ type: 'log_ack', run_uuid: runId, stream, offset });
    deps.tell(runId);
  }
}
