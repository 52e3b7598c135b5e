// What the database says of connected nodes themselves: one was removed, or may clean up again after a restore.
import { listRevokedNodeKeys } from '../db/api-keys.ts';
import type { Sql } from '../db/database.ts';
import { listStandings } from '../db/node-restore.ts';
import type { AgentSession } from './session.ts';

/** The last word to the agent of a node that was removed. */
export function refuseRemoved(session: AgentSession): void {
  session.refuse(
    'node_removed',
    'This node was removed from the cluster; "flotilla node register" makes this machine a new one.',
  );
}

/** The last word to an agent whose key is worth nothing any more. */
export function refuseRevoked(session: AgentSession): void {
  session.refuse('key_expired', 'The key of this node was revoked.');
}

/** One look; hints of removals, words and revoked keys may get lost, so it is taken again and again. */
export async function tellStandings(sql: Sql, sessions: ReadonlyMap<string, AgentSession>): Promise<void> {
  const revoked = new Set(await listRevokedNodeKeys(sql));
  for (const session of sessions.values())
    if (revoked.has(session.identity.publicKey)) refuseRevoked(session);
  const waiting = [...sessions].filter(([, session]) => session.awaitsWord);
  const nodeIds = [...sessions.keys()];
  const standings = await listStandings(sql, { nodeIds, waitingIds: waiting.map(([id]) => id) });
  for (const { id, isRemoved, generation } of standings) {
    const session = sessions.get(id);
    if (session === undefined) continue;
    if (isRemoved) refuseRemoved(session);
    else if (session.awaitsWord) {
      session.awaitsWord = false;
      session.send({ type: 'restore_accepted', cluster_generation: generation });
    }
  }
}
