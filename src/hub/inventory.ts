// Inventories that agents send after their hello: stored in their order, and only those of a node's newest connection.
import type { Sql } from '../db/database.ts';
import type { Hints } from '../db/hints.ts';
import { updateInventory } from '../db/nodes.ts';
import type { Inventory } from '../protocol/agent-messages.ts';
import type { AgentSession } from './session.ts';

/** One after the other, so that an older one never overwrites a newer. What comes before the hello is in the hello. */
export function storeInventory(
  session: AgentSession,
  inventory: Inventory,
  { database, hints, onError }: { database: Sql; hints: Hints; onError: (error: unknown) => void },
): void {
  const { nodeId } = session.identity;
  const written = (session.inventoryWritten ?? Promise.resolve())
    .then(async () => {
      if (session.hello !== null)
        await updateInventory(database, { nodeId, hello: session.hello }, inventory);
    })
    .then(() => hints.publish({ kind: 'schedule' }))
    .catch(onError)
    .finally(() => {
      if (session.inventoryWritten === written) session.inventoryWritten = null;
    });
  session.inventoryWritten = written;
}
