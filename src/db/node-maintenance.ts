// Maintenance of nodes: cordon, uncordon, drain and removal, each with who and why in the node's events.
import type { Sql } from './database.ts';
import { recordNodeEvent } from './node-events.ts';

export interface NodeChange {
  nodeId: string;
  accountId: string;
  actor: Record<string, unknown>;
  /** In the operator's words. */
  reason: string | null;
}

/** false: the account has no such node. The caller holds a transaction. */
export async function cordonNode(sql: Sql, change: NodeChange): Promise<boolean> {
  const isFound = await changeNode(sql, change, 'is_cordoned = true, cordon_reason = $3', [change.reason]);
  if (isFound) await record(sql, change, 'cordoned');
  return isFound;
}

/** Takes work again; a drain under way ends, and what it has stopped already stays stopped. */
export async function uncordonNode(sql: Sql, change: NodeChange): Promise<boolean> {
  const set =
    'is_cordoned = false, cordon_reason = null, drain_requested_at = null, drain_deadline_at = null';
  const isFound = await changeNode(sql, change, set, []);
  if (isFound) await record(sql, change, 'uncordoned');
  return isFound;
}

/** No new work from now on; runs that are left after `deadlineMs` are stopped. A second drain sets a new deadline. */
export async function drainNode(sql: Sql, change: NodeChange & { deadlineMs: number }): Promise<boolean> {
  const set = `is_cordoned = true, cordon_reason = $3, drain_requested_at = flotilla_now(),
    drain_deadline_at = flotilla_now() + $4 * interval '1 millisecond'`;
  const isFound = await changeNode(sql, change, set, [change.reason, change.deadlineMs]);
  if (isFound) await record(sql, change, 'drain_requested', { deadline_ms: change.deadlineMs });
  return isFound;
}

/** A version of its own, so that a plan made before is skipped. */
async function changeNode(
  sql: Sql,
  { nodeId, accountId }: NodeChange,
  set: string,
  values: readonly unknown[],
): Promise<boolean> {
  const rows = await sql.query(
    `update nodes set ${set}, version = version + 1, changed_in = pg_current_xact_id(), updated_at = flotilla_now()
     where id = $1 and account_id = $2 and status <> 'removed' returning id`,
    [nodeId, accountId, ...values],
  );
  return rows.length > 0;
}

function record(
  sql: Sql,
  { nodeId, actor, reason }: NodeChange,
  kind: 'cordoned' | 'uncordoned' | 'drain_requested' | 'removed',
  detail: Record<string, unknown> = {},
): Promise<void> {
  return recordNodeEvent(sql, { nodeId, kind, actor, detail: { reason, ...detail } });
}

export type NodeRemoval =
  | { kind: 'removed'; publicKeys: string[] }
  | { kind: 'not_found' }
  /** It holds runs that are not over. */
  | { kind: 'busy'; name: string; status: string; runCount: number }
  /** Its runs are given up, but their containers may live. */
  | { kind: 'lost'; name: string };

/**
 * Takes the node out of the cluster: it is listed no more, its name is free, its keys are revoked. The row stays, since
 * runs name it. Repeating it changes nothing. `isForced` also takes a lost one. The caller holds a transaction and has fenced what the node held.
 */
export async function removeNode(sql: Sql, change: NodeChange & { isForced: boolean }): Promise<NodeRemoval> {
  const { nodeId, accountId } = change;
  // Under the lock no plan can add a run.
  const [node] = await sql.query<{ name: string; status: string; runs: number }>(
    `select n.name, n.status,
       (select count(*)::integer from job_runs r where r.node_id = n.id and r.released_at is null) as runs
     from nodes n where n.id = $1 and n.account_id = $2 for update`,
    [nodeId, accountId],
  );
  if (node === undefined) return { kind: 'not_found' };
  const { name, status, runs: runCount } = node;
  if (status === 'removed') return { kind: 'removed', publicKeys: [] };
  if (status === 'lost' && !change.isForced) return { kind: 'lost', name };
  if (runCount > 0) return { kind: 'busy', name, status, runCount };
  const set = `status = 'removed', is_cordoned = true, cordon_reason = $3, status_reason = null, orphans = '[]',
    awaits_word = false, drain_requested_at = null, drain_deadline_at = null`;
  await changeNode(sql, change, set, [change.reason]);
  await record(sql, change, 'removed', { was: status });
  const keys = await sql.query<{ public_key: string }>(
    `update api_keys set revoked_at = coalesce(revoked_at, flotilla_now()) where node_id = $1 returning public_key`,
    [nodeId],
  );
  return { kind: 'removed', publicKeys: keys.map((key) => key.public_key) };
}

/** Drains whose node holds nothing any more are over: the node stays cordoned. */
export async function completeDrains(sql: Sql, actor: Record<string, unknown>): Promise<void> {
  await sql.query(
    {
      name: 'complete_drains',
      text: `with done as (
          update nodes set drain_requested_at = null, drain_deadline_at = null, updated_at = flotilla_now()
          where drain_deadline_at is not null and run_count = 0 returning id
        )
        insert into node_events (node_id, kind, actor) select id, 'drained', $1 from done`,
    },
    [JSON.stringify(actor)],
  );
}

/** Runs that go on although the deadline of their node's drain has passed. */
export async function listRunsToDrain(sql: Sql, limit: number): Promise<{ id: string }[]> {
  return sql.query(
    {
      name: 'list_runs_to_drain',
      text: `select r.id from nodes n join job_runs r on r.node_id = n.id and r.released_at is null
        where n.drain_deadline_at <= flotilla_now() and r.status in ('ASSIGNED', 'PREPARING', 'RUNNING')
        order by r.id limit $1`,
    },
    [limit],
  );
}
