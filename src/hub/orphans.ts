// Containers that an agent found without an order: those of runs that have ended are killed, unknown ones are shown.
import type { Logger } from 'pino';
import type { Static } from 'typebox';
import type { Database } from '../db/database.ts';
import { storeOrphans } from '../db/node-restore.ts';
import type { Orphans } from '../protocol/agent-messages.ts';
import { killEnded } from './kill-list.ts';
import type { AgentSession } from './session.ts';

type Found = Static<typeof Orphans>['containers'];

export async function judgeOrphans(
  { database, log }: { database: Database; log: Logger },
  session: AgentSession,
  containers: Found,
): Promise<void> {
  const { nodeId } = session.identity;
  const runIds = containers.map((container) => container.run_uuid);
  const ended = await killEnded(database, session, runIds);
  const unknown = containers.filter((container) => !ended.has(container.run_uuid));
  const told = unknown.map(summaryOf).join();
  // The agent names them again and again.
  if (told === session.toldOrphans) return;
  session.toldOrphans = told;
  await storeOrphans(database, nodeId, unknown.map(toFound));
  if (unknown.length === 0) return;
  const run_uuids = unknown.map((container) => container.run_uuid);
  log.warn({ node_uuid: nodeId, run_uuids }, 'A node has containers this database does not know.');
}

/** Without the time that is left, which every message tells anew. */
function summaryOf({ run_uuid, attempt, state, removal_ms: removalMs = null }: Found[number]): string {
  return `${run_uuid} ${attempt} ${state} ${removalMs === null}`;
}

function toFound({ run_uuid: runId, attempt, state, removal_ms: removalMs = null }: Found[number]) {
  return { runId, attempt, state, removalMs };
}
