// Leases of nodes: an agent says hello, is heard, falls silent, is lost; each change of a node's status leaves an event.
import type { Inventory } from '../protocol/agent-messages.ts';
import type { Sql } from './database.ts';
import type { Leadership } from './leadership.ts';

/** What the agent remembers of this cluster: it tells a database that was restored to an earlier state. */
export interface AgentMemory {
  /** The highest cluster generation it has seen; 0: none. */
  generation: number;
  /** Runs of the last order that brought new ones. */
  orders: readonly string[];
}

export interface AgentReport {
  nodeId: string;
  sessionId: string;
  agentVersion: string;
  inventory: Inventory;
  leaseMs: number;
  memory?: AgentMemory;
}

export interface ConnectedNode {
  /** Of the cluster, as the database has it now. */
  generation: number;
  /** The database was restored since the agent was here, and no admin has said that it may clean up. */
  awaitsWord: boolean;
  /** The count of this hello among those of the node. */
  hello: number;
}

const noMemory: AgentMemory = { generation: 0, orders: [] };

/**
 * The agent said hello: its inventory stands, its lease runs, and the node takes work again. It waits for the admin's
 * word where the cluster's generation rose, where its agent has seen a higher one, or where its last order names a run
 * that this database does not know: rows of runs are never deleted. Null when the node was removed.
 */
export async function connectNode(sql: Sql, report: AgentReport): Promise<ConnectedNode | null> {
  const { inventory, memory = noMemory } = report;
  const [row] = await sql.query<{ generation: number; awaits_word: boolean; hello: number }>(
    {
      name: 'connect_node',
      text: `with before as (
          select status, awaits_word, (select generation from cluster) as generation,
            array(select o.id from unnest($11::uuid[]) o(id) where o.id <> all (n.accepted_orders)
              and not exists (select from job_runs r where r.id = o.id and r.node_id = n.id)) as lost_orders
          from nodes n where n.id = $1 and n.status <> 'removed' for update
        ), changed as (
          update nodes n set session_id = $2, hello_count = n.hello_count + 1, agent_version = $3, inventory = $4,
            isolation = $5, cpu_count = $6, ram_bytes = $7, storage_bytes = $8, gpus = $9, status = 'ready', status_reason = null,
            seen_generation = greatest(n.seen_generation, $10), lost_orders = b.lost_orders,
            awaits_word = b.lost_orders <> '{}'
              or n.accepted_generation < greatest(b.generation, n.seen_generation, $10),
            version = version + 1, changed_in = pg_current_xact_id(), updated_at = flotilla_now()
          from before b where n.id = $1 returning n.*
        ), events as (
          insert into node_events (node_id, kind, actor, detail)
          select $1, 'ready', '{"kind": "node"}'::jsonb,
            jsonb_build_object('was', b.status, 'agent_version', c.agent_version)
          from changed c, before b where b.status <> 'ready'
          union all
          select $1, 'restore_suspected', '{"kind": "node"}', jsonb_build_object('cluster_generation', b.generation,
            'seen_generation', c.seen_generation, 'accepted_generation', c.accepted_generation,
            'unknown_runs', c.lost_orders)
          from changed c, before b where c.awaits_word and not b.awaits_word
        )
        select b.generation, c.awaits_word, c.hello_count as hello from changed c, before b`,
    },
    [
      report.nodeId,
      report.sessionId,
      report.agentVersion,
      JSON.stringify(inventory),
      inventory.isolation,
      inventory.cpu_count,
      inventory.ram_bytes,
      inventory.storage_bytes,
      JSON.stringify(inventory.gpus),
      memory.generation,
      memory.orders,
    ],
  );
  if (row === undefined) return null;
  await renewLeases(sql, { nodeIds: [report.nodeId], leaseMs: report.leaseMs });
  return { generation: row.generation, awaitsWord: row.awaits_word, hello: row.hello };
}

/** Epoch milliseconds of the clock that leases are written by. */
export async function readLeaseClock(sql: Sql): Promise<number> {
  const [row] = await sql.query<{ at: number }>({
    name: 'read_lease_clock',
    text: 'select flotilla_now() as at',
  });
  if (row === undefined) throw new Error('The database did not tell its time.');
  return row.at;
}

/** One statement for all nodes that were heard since the last one. */
export async function renewLeases(
  sql: Sql,
  options: { nodeIds: readonly string[]; leaseMs: number },
): Promise<void> {
  await sql.query(
    {
      name: 'renew_leases',
      text: `insert into node_leases (node_id, last_seen_at, expires_at)
        select id, flotilla_now(), flotilla_now() + $2 * interval '1 millisecond' from unnest($1::uuid[]) id
        on conflict (node_id) do update set last_seen_at = excluded.last_seen_at, expires_at = excluded.expires_at`,
    },
    [options.nodeIds, options.leaseMs],
  );
}

/** Every ready node gets a whole lease from now on: nobody looked, or the clock jumped, and the old ones mean nothing. */
export async function renewAllLeases(sql: Sql, leaseMs: number): Promise<void> {
  await sql.query(
    // Whose row is locked is just being renewed.
    `update node_leases set last_seen_at = flotilla_now(), expires_at = flotilla_now() + $1 * interval '1 millisecond'
     where node_id in (select l.node_id from node_leases l join nodes n on n.id = l.node_id
       where n.status = 'ready' for update of l skip locked)`,
    [leaseMs],
  );
}

/** Heard again after silence: these take work again. A lost one must say hello first, to learn what was given up. */
export async function reviveNodes(sql: Sql, nodeIds: readonly string[]): Promise<void> {
  await sql.query(
    {
      name: 'revive_nodes',
      text: `with revived as (
          update nodes set status = 'ready', status_reason = null, version = version + 1,
            changed_in = pg_current_xact_id(), updated_at = flotilla_now()
          where id = any ($1::uuid[]) and status = 'unreachable' returning id
        )
        insert into node_events (node_id, kind, actor, detail)
        select id, 'ready', '{"kind": "node"}', '{"was": "unreachable"}' from revived`,
    },
    [nodeIds],
  );
}

/** Ready nodes whose lease ran out become unreachable: no new work, nothing else. */
export async function markSilentNodes(sql: Sql, actor: Record<string, unknown>): Promise<void> {
  await sql.query(
    {
      name: 'mark_silent_nodes',
      text: `with silent as (
          update nodes n set status = 'unreachable', status_reason = 'No heartbeat since its lease ran out.',
            version = version + 1, changed_in = pg_current_xact_id(), updated_at = flotilla_now()
          from node_leases l where l.node_id = n.id and l.expires_at < flotilla_now() and n.status = 'ready'
          returning n.id, l.last_seen_at
        )
        insert into node_events (node_id, kind, actor, detail)
        select id, 'unreachable', $1, jsonb_build_object('last_seen_at', last_seen_at) from silent`,
    },
    [JSON.stringify(actor)],
  );
}

/**
 * Those of these that are still silent become lost; what they hold is the caller's to give up. Only while it leads: a
 * leader that slept since it decided has no right to judge.
 */
export async function markLostNodes(
  sql: Sql,
  nodeIds: readonly string[],
  { leadership, actor }: { leadership: Leadership; actor: Record<string, unknown> },
): Promise<void> {
  await sql.query(
    `with lost as (
       update nodes n set status = 'lost', status_reason = 'Silent for too long; its runs were given up.',
         version = version + 1, changed_in = pg_current_xact_id(), updated_at = flotilla_now()
       from node_leases l where l.node_id = n.id and n.id = any ($1::uuid[]) and n.status = 'unreachable'
         and l.expires_at < flotilla_now() and (select flotilla_leads($3, $4, $5))
       returning n.id, l.last_seen_at
     )
     insert into node_events (node_id, kind, actor, detail)
     select id, 'lost', $2, jsonb_build_object('last_seen_at', last_seen_at) from lost`,
    [nodeIds, JSON.stringify(actor), leadership.name, leadership.holder, leadership.epoch],
  );
}

export interface UnheardNode {
  id: string;
  status: 'unreachable' | 'lost';
  /** Since it was last heard. */
  silentMs: number;
}

/** Nodes not ready although they were once: few, so that every replica may look each second. */
export async function listSilentNodes(sql: Sql): Promise<UnheardNode[]> {
  return sql.query({
    name: 'list_silent_nodes',
    text: `select n.id, n.status, coalesce(
        extract(epoch from flotilla_now() - l.last_seen_at)::double precision * 1000, 0) as "silentMs"
      from nodes n left join node_leases l on l.node_id = n.id where n.status in ('unreachable', 'lost')`,
  });
}

export async function countReadyNodes(sql: Sql): Promise<number> {
  const [row] = await sql.query<{ total: number }>(
    "select count(*) as total from nodes where status = 'ready'",
  );
  return row?.total ?? 0;
}

/** Runs that lost nodes hold still. */
export async function listRunsOfLostNodes(sql: Sql, limit: number): Promise<{ id: string }[]> {
  return sql.query(
    {
      name: 'list_runs_of_lost_nodes',
      text: `select r.id from nodes n join job_runs r on r.node_id = n.id and r.released_at is null
        where n.status = 'lost' order by r.id limit $1`,
    },
    [limit],
  );
}
