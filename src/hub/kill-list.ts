// The kill list: runs that the database knows as over, and that their agent must make sure are gone.
import type { Database } from '../db/database.ts';
import { listKilledRuns, listReleasedRuns } from '../db/job-runs.ts';
import type { AgentSession } from './session.ts';

/** For an agent that said hello: of the containers it found, and of what was given up with its node and never proved. */
export async function killAtHello(
  database: Database,
  session: AgentSession,
  runIds: readonly string[],
): Promise<void> {
  const killed = await listKilledRuns(database, { nodeId: session.identity.nodeId, runIds });
  if (killed.length === 0) return;
  const runs = killed.map(({ id: run_uuid, attempt, containerId: container_id }) => ({
    ...{ run_uuid, attempt, container_id },
  }));
  session.send({ type: 'kill', runs });
}

/** Of these runs those that are over. */
export async function killEnded(
  database: Database,
  session: AgentSession,
  runIds: readonly string[],
): Promise<Set<string>> {
  if (runIds.length === 0) return new Set();
  const ended = await listReleasedRuns(database, { nodeId: session.identity.nodeId, runIds });
  if (ended.length > 0)
    session.send({ type: 'kill', runs: ended.map(({ id, attempt }) => ({ run_uuid: id, attempt })) });
  return new Set(ended.map(({ id }) => id));
}
