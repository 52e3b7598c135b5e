// Nodes that are drained: what is left at the deadline is stopped, and a node that is empty is done.
import type { Database } from '../db/database.ts';
import type { Hints } from '../db/hints.ts';
import { completeDrains, listRunsToDrain } from '../db/node-maintenance.ts';
import { applyRunEvents } from '../db/run-events.ts';

const batchSize = 500;
// Not the operator's own words: the job may be a stranger's.
const reason = 'Its node was taken out of service, and it had not ended by the deadline for that.';

/** One look; what it leaves, the next one finds. */
export async function drainNodes(
  { database, hints }: { database: Database; hints: Hints },
  actor: Record<string, unknown>,
): Promise<void> {
  const runs = await listRunsToDrain(database, batchSize);
  const events = runs.map(({ id }) => ({
    runId: id,
    from: null,
    onlyWhileNodeIs: 'drained' as const,
    event: () => ({ kind: 'node_drained' as const, reason }),
  }));
  for (const applied of await applyRunEvents(database, events, actor)) {
    if (applied.kind !== 'applied') continue;
    hints.publish({ kind: 'node', nodeId: applied.nodeId });
    hints.publish({ kind: 'job', jobId: applied.jobId });
  }
  if (runs.length > 0) hints.publish({ kind: 'ports' });
  await completeDrains(database, actor);
}
