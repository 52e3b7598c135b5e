// Bills runs: those that ended at once, those that go on every hour. Any replica may; a run is billed once for each time.
import type { Database } from '../db/database.ts';
import { billRuns } from '../db/ledger.ts';

const batchSize = 500;
const everyMs = 3_600_000;

/** All that is due; what it leaves, the next round finds. */
export async function billDueRuns(database: Database, actor: Record<string, unknown>): Promise<void> {
  let lookedAt: number;
  do lookedAt = await billRuns(database, { limit: batchSize, everyMs, actor });
  while (lookedAt === batchSize);
}
