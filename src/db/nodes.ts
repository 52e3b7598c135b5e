// Nodes: register, get, list, what their agents report, and their leases.
import type { Inventory } from '../protocol/agent-messages.ts';
import type { Sql } from './database.ts';
import { countRows, type ListQuery, type ListResult, orderAndPage, whereOf } from './list-sql.ts';

export interface NodeRecord {
  id: string;
  accountId: string;
  name: string;
  regionCode: string | null;
  labels: Record<string, string>;
  status: 'offline' | 'ready' | 'unreachable' | 'lost';
  isCordoned: boolean;
  statusReason: string | null;
  inventory: Inventory | null;
  isolation: 'enforced' | 'none';
  agentVersion: string | null;
  cpuCount: number;
  ramBytes: number;
  storageBytes: number;
  cpuAllocated: number;
  ramAllocated: number;
  storageAllocated: number;
  runCount: number;
  allocatedGpuUuids: readonly string[];
  createdAtMs: number;
  updatedAtMs: number;
  lastSeenAtMs: number | null;
}

interface NodeRow {
  id: string;
  account_id: string;
  name: string;
  region_code: string | null;
  labels: Record<string, string>;
  status: 'offline' | 'ready' | 'unreachable' | 'lost';
  is_cordoned: boolean;
  status_reason: string | null;
  inventory: Inventory | null;
  isolation: 'enforced' | 'none';
  agent_version: string | null;
  cpu_count: number;
  ram_bytes: number;
  storage_bytes: number;
  cpu_allocated: number;
  ram_allocated: number;
  storage_allocated: number;
  run_count: number;
  allocated_gpus: string[];
  created_at: number;
  updated_at: number;
  last_seen_at: number | null;
}

const nodeColumns = `n.*, l.last_seen_at,
  array(select g.gpu_uuid from gpu_allocations g where g.node_id = n.id) as allocated_gpus`;
const nodeTables = 'nodes n left join node_leases l on l.node_id = n.id';

export interface NewNode {
  id: string;
  accountId: string;
  name: string;
  regionCode: string | null;
  labels: Readonly<Record<string, string>>;
}

/** Null when the account has a node of that name already. */
export async function createNode(sql: Sql, node: NewNode): Promise<NodeRecord | null> {
  const [row] = await sql.query<{ id: string }>(
    `insert into nodes (id, account_id, name, region_code, labels) values ($1, $2, $3, $4, $5)
     on conflict (account_id, name) where status <> 'removed' do nothing returning id`,
    [node.id, node.accountId, node.name, node.regionCode, JSON.stringify(node.labels)],
  );
  return row === undefined ? null : getNode(sql, { id: row.id, accountId: node.accountId });
}

export async function getNode(sql: Sql, node: { id: string; accountId: string }): Promise<NodeRecord | null> {
  const [row] = await sql.query<NodeRow>(
    `select ${nodeColumns} from ${nodeTables} where n.id = $1 and n.account_id = $2`,
    [node.id, node.accountId],
  );
  return row === undefined ? null : toNodeRecord(row);
}

export async function findNodeByName(
  sql: Sql,
  node: { name: string; accountId: string },
): Promise<NodeRecord | null> {
  const [row] = await sql.query<NodeRow>(
    `select ${nodeColumns} from ${nodeTables} where n.name = $1 and n.account_id = $2`,
    [node.name, node.accountId],
  );
  return row === undefined ? null : toNodeRecord(row);
}

export async function listNodes(
  sql: Sql,
  query: ListQuery & { accountId: string },
): Promise<ListResult<NodeRecord>> {
  const where = whereOf(query, { column: 'n.account_id', value: query.accountId });
  const rows = await sql.query<NodeRow>(
    `select ${nodeColumns} from ${nodeTables} where ${where.text} ${orderAndPage(query, 'n')}`,
    where.values,
  );
  const count = await countRows(sql, { tables: nodeTables, where, query, found: rows.length });
  return { items: rows.map(toNodeRecord), ...count };
}

export interface AgentReport {
  nodeId: string;
  sessionId: string;
  agentVersion: string;
  inventory: Inventory;
  leaseMs: number;
}

/** The agent said hello: its inventory stands, its lease runs, and the node takes work again. */
export async function connectNode(sql: Sql, report: AgentReport): Promise<void> {
  const { inventory } = report;
  await sql.query(
    `update nodes set session_id = $2, agent_version = $3, inventory = $4, isolation = $5, cpu_count = $6,
       ram_bytes = $7, storage_bytes = $8, gpus = $9, status = 'ready', status_reason = null,
       version = version + 1, changed_in = pg_current_xact_id(), updated_at = flotilla_now()
     where id = $1`,
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
    ],
  );
  await renewLeases(sql, { nodeIds: [report.nodeId], leaseMs: report.leaseMs });
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

/** Heard again after silence: unreachable nodes among these take work again. */
export async function reviveNodes(sql: Sql, nodeIds: readonly string[]): Promise<string[]> {
  const rows = await sql.query<{ id: string }>(
    {
      name: 'revive_nodes',
      text: `update nodes set status = 'ready', status_reason = null, version = version + 1,
          changed_in = pg_current_xact_id(), updated_at = flotilla_now()
        where id = any ($1::uuid[]) and status in ('unreachable', 'lost') returning id`,
    },
    [nodeIds],
  );
  return rows.map((row) => row.id);
}

/** Ready nodes whose lease ran out become unreachable: no new work, nothing else. */
export async function markSilentNodes(sql: Sql): Promise<string[]> {
  const rows = await sql.query<{ id: string }>(
    `update nodes n set status = 'unreachable', status_reason = 'No heartbeat since its lease ran out.',
       version = version + 1, changed_in = pg_current_xact_id(), updated_at = flotilla_now()
     from node_leases l where l.node_id = n.id and l.expires_at < flotilla_now() and n.status = 'ready'
     returning n.id`,
  );
  return rows.map((row) => row.id);
}

/** Unreachable nodes silent for longer than `lostAfterMs` become lost; their runs are the caller's to fail. */
export async function markLostNodes(sql: Sql, lostAfterMs: number): Promise<string[]> {
  const rows = await sql.query<{ id: string }>(
    `update nodes n set status = 'lost', status_reason = 'Silent for too long; its runs were given up.',
       version = version + 1, changed_in = pg_current_xact_id(), updated_at = flotilla_now()
     from node_leases l where l.node_id = n.id and n.status = 'unreachable'
       and l.last_seen_at < flotilla_now() - $1 * interval '1 millisecond'
     returning n.id`,
    [lostAfterMs],
  );
  return rows.map((row) => row.id);
}

function toNodeRecord(row: NodeRow): NodeRecord {
  return {
    id: row.id,
    accountId: row.account_id,
    name: row.name,
    regionCode: row.region_code,
    labels: row.labels,
    status: row.status,
    isCordoned: row.is_cordoned,
    statusReason: row.status_reason,
    inventory: row.inventory,
    isolation: row.isolation,
    agentVersion: row.agent_version,
    cpuCount: row.cpu_count,
    ramBytes: row.ram_bytes,
    storageBytes: row.storage_bytes,
    cpuAllocated: row.cpu_allocated,
    ramAllocated: row.ram_allocated,
    storageAllocated: row.storage_allocated,
    runCount: row.run_count,
    allocatedGpuUuids: row.allocated_gpus,
    createdAtMs: row.created_at,
    updatedAtMs: row.updated_at,
    lastSeenAtMs: row.last_seen_at,
  };
}

/** Nodes not ready although they were once: few, so that every replica may look each second. */
export async function listSilentNodes(sql: Sql): Promise<{ id: string; status: 'unreachable' | 'lost' }[]> {
  return sql.query({
    name: 'list_silent_nodes',
    text: "select id, status from nodes where status in ('unreachable', 'lost')",
  });
}

/** The machine changed, or its free space did; what placements rest on moves the version. */
export async function updateInventory(sql: Sql, nodeId: string, inventory: Inventory): Promise<void> {
  await sql.query(
    `update nodes set inventory = $2, isolation = $3, cpu_count = $4, ram_bytes = $5, storage_bytes = $6, gpus = $7,
       version = version + 1, changed_in = pg_current_xact_id(), updated_at = flotilla_now()
     where id = $1`,
    [
      nodeId,
      JSON.stringify(inventory),
      inventory.isolation,
      inventory.cpu_count,
      inventory.ram_bytes,
      inventory.storage_bytes,
      JSON.stringify(inventory.gpus),
    ],
  );
}

export async function countNodes(sql: Sql): Promise<number> {
  const [row] = await sql.query<{ total: number }>(
    "select count(*) as total from nodes where status <> 'offline'",
  );
  return row?.total ?? 0;
}
