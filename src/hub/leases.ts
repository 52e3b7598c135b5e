// Leases of the nodes that this replica hears: renewed in one statement, and those that fell silent take work again.
import type { Sql } from '../db/database.ts';
import { listSilentNodes, renewLeases, reviveNodes } from '../db/node-leases.ts';
import type { AgentSession } from './session.ts';

/** True when a node takes work again that did not. */
export async function renewHeard(
  sql: Sql,
  { nodeIds, leaseMs }: { nodeIds: readonly string[]; leaseMs: number },
  sessions: ReadonlyMap<string, AgentSession>,
): Promise<boolean> {
  await renewLeases(sql, { nodeIds, leaseMs });
  const heard = new Set(nodeIds);
  const silent = (await listSilentNodes(sql)).filter(({ id }) => heard.has(id));
  if (silent.length === 0) return false;
  // A lost node's runs were given up: it must say hello again to learn which.
  for (const { id, status } of silent) if (status === 'lost') sessions.get(id)?.close('say hello again');
  await reviveNodes(
    sql,
    silent.filter(({ status }) => status === 'unreachable').map(({ id }) => id),
  );
  return true;
}
