// After the database was restored: which nodes wait for the admin's word, the word itself, and what they found meanwhile.
import type { Sql } from './database.ts';
import { recordNodeEvent } from './node-events.ts';
import type { NodeChange } from './node-maintenance.ts';
import type { Orphan } from './nodes.ts';

/**
 * The admin says that this database was restored to an earlier state: its generation rises, and every node that was
 * there before waits for the word. Answers the new generation.
 */
export async function raiseGeneration(sql: Sql): Promise<number> {
  await sql.query(
    `update nodes set awaits_word = true, version = version + 1, changed_in = pg_current_xact_id()
     where status <> 'removed'`,
  );
  const [row] = await sql.query<{ generation: number }>(
    'update cluster set generation = generation + 1 returning generation',
  );
  if (row === undefined) throw new Error('The cluster row is missing.');
  return row.generation;
}

/**
 * The admin's word for one node: from now on it removes what this database does not know. Without effect on a node that
 * does not wait. false: the account has no such node. The caller holds a transaction.
 */
export async function acceptRestore(sql: Sql, change: NodeChange): Promise<boolean> {
  const { nodeId, accountId, actor, reason } = change;
  const [node] = await sql.query<{ awaits_word: boolean; orphans: { run_uuid: string }[] }>(
    `select awaits_word, orphans from nodes where id = $1 and account_id = $2 and status <> 'removed' for update`,
    [nodeId, accountId],
  );
  if (node === undefined) return false;
  if (!node.awaits_word) return true;
  await sql.query(
    `update nodes n set awaits_word = false, lost_orders = '{}', accepted_orders = n.accepted_orders || n.lost_orders,
       accepted_generation = greatest(n.accepted_generation, n.seen_generation, (select generation from cluster)),
       version = version + 1, changed_in = pg_current_xact_id(), updated_at = flotilla_now()
     where id = $1`,
    [nodeId],
  );
  const unknownRuns = node.orphans.map((orphan) => orphan.run_uuid);
  const detail = { reason, unknown_runs: unknownRuns };
  await recordNodeEvent(sql, { nodeId, kind: 'restore_accepted', actor, detail });
  return true;
}

/** What an agent told of such a container; `removalMs` null: it stays. */
export type FoundOrphan = Pick<Orphan, 'runId' | 'attempt' | 'state'> & { removalMs: number | null };

/** The whole list of a node; what was known keeps the time it was first seen. */
export async function storeOrphans(sql: Sql, nodeId: string, orphans: readonly FoundOrphan[]): Promise<void> {
  const found = orphans.map(({ runId: run_uuid, attempt, state, removalMs: removal_ms }) => {
    return { run_uuid, attempt, state, removal_ms };
  });
  await sql.query(
    {
      name: 'store_orphans',
      text: `update nodes n set orphans = coalesce((
          select jsonb_agg(jsonb_build_object('run_uuid', f.run_uuid, 'attempt', f.attempt, 'state', f.state,
            'first_seen_at', coalesce(k.first_seen_at, t.now_ms), 'removal_at', t.now_ms + f.removal_ms))
          from jsonb_to_recordset($2::jsonb) f(run_uuid text, attempt integer, state text, removal_ms double precision)
          left join jsonb_to_recordset(n.orphans) k(run_uuid text, first_seen_at double precision)
            on k.run_uuid = f.run_uuid
          cross join (select round(extract(epoch from flotilla_now()) * 1000) as now_ms) t), '[]')
        where n.id = $1 and n.status <> 'removed' and (n.orphans <> '[]' or $2::jsonb <> '[]')`,
    },
    [nodeId, JSON.stringify(found)],
  );
}

export interface NodeStanding {
  id: string;
  isRemoved: boolean;
  generation: number;
}

/** Of these nodes those that were removed, and of those that wait for the word those that have it. */
export async function listStandings(
  sql: Sql,
  { nodeIds, waitingIds }: { nodeIds: readonly string[]; waitingIds: readonly string[] },
): Promise<NodeStanding[]> {
  return sql.query(
    {
      name: 'list_standings',
      text: `select id, status = 'removed' as "isRemoved", accepted_generation as generation from nodes
        where id = any ($1::uuid[]) and (status = 'removed' or id = any ($2::uuid[]) and not awaits_word)`,
    },
    [nodeIds, waitingIds],
  );
}
