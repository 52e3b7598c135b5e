// Nodes: register, get, list, what their agents report, and their leases.
import { noPromises, type Promises } from '../domain/reputation.ts';
import type { Inventory } from '../protocol/agent-messages.ts';
import type { NodeLoad } from '../protocol/hardware.ts';
import type { NodeStatus } from '../protocol/node.ts';
import type { Sql } from './database.ts';
import { countRows, type ListQuery, type ListResult, orderAndPage, whereOf } from './list-sql.ts';

/** How a node is shown: what hinders it most comes first. `n` is nodes. */
export const shownStatus = `(case when n.status <> 'ready' then n.status
  when n.inventory ->> 'engine_note' is not null then 'not_ready'
  when n.drain_deadline_at is not null then 'draining'
  when n.is_cordoned or n.awaits_word then 'cordoned' else 'ready' end)`;

/** A container that the node's agent found and this database does not know. Times in epoch milliseconds. */
export interface Orphan {
  runId: string;
  attempt: number;
  state: 'created' | 'running' | 'exited';
  firstSeenAtMs: number;
  /** null: it stays until the admin's word. */
  removalAtMs: number | null;
}

export interface NodeRecord {
  id: string;
  accountId: string;
  name: string;
  regionCode: string | null;
  labels: Record<string, string>;
  status: NodeStatus;
  isCordoned: boolean;
  cordonReason: string | null;
  /** Under way; null: none is. */
  drain: { requestedAtMs: number; deadlineAtMs: number } | null;
  /** The database was restored: the node removes nothing and takes no work until the admin's word. */
  awaitsWord: boolean;
  orphans: readonly Orphan[];
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
  /** The last sample; null: none came. */
  lastLoad: { atMs: number; load: NodeLoad } | null;
  promises: Promises;
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
  shown_status: NodeStatus;
  is_cordoned: boolean;
  cordon_reason: string | null;
  drain_requested_at: number | null;
  drain_deadline_at: number | null;
  awaits_word: boolean;
  orphans: StoredOrphan[];
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
  load_at: number | null;
  load: NodeLoad | null;
  kept: number | null;
  broken: number | null;
  created_at: number;
  updated_at: number;
  last_seen_at: number | null;
}

const nodeColumns = `n.*, ${shownStatus} as shown_status, l.last_seen_at,
  h.at as load_at, h.load, p.kept, p.broken,
  array(select g.gpu_uuid from gpu_allocations g where g.node_id = n.id) as allocated_gpus`;
const nodeTables = `nodes n left join node_leases l on l.node_id = n.id
  left join node_loads h on h.node_id = n.id left join node_reputations p on p.node_id = n.id`;

export interface NewNode {
  id: string;
  accountId: string;
  name: string;
  regionCode: string | null;
  labels: Readonly<Record<string, string>>;
}

/** Null when the account has a node of that name already. A new one has nothing from before a restore. */
export async function createNode(sql: Sql, node: NewNode): Promise<NodeRecord | null> {
  const [row] = await sql.query<{ id: string }>(
    `insert into nodes (id, account_id, name, region_code, labels, accepted_generation)
       select $1, $2, $3, $4, $5, coalesce((select generation from cluster), 1)
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
    `select ${nodeColumns} from ${nodeTables} where n.name = $1 and n.account_id = $2 and n.status <> 'removed'`,
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

function toNodeRecord(row: NodeRow): NodeRecord {
  return {
    id: row.id,
    accountId: row.account_id,
    name: row.name,
    regionCode: row.region_code,
    labels: row.labels,
    status: row.shown_status,
    isCordoned: row.is_cordoned,
    cordonReason: row.cordon_reason,
    drain: drainOf(row),
    awaitsWord: row.awaits_word,
    orphans: row.orphans.map(toOrphan),
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
    lastLoad: row.load_at === null || row.load === null ? null : { atMs: row.load_at, load: row.load },
    promises: row.kept === null || row.broken === null ? noPromises : { kept: row.kept, broken: row.broken },
    createdAtMs: row.created_at,
    updatedAtMs: row.updated_at,
    lastSeenAtMs: row.last_seen_at,
  };
}

function drainOf(row: NodeRow): NodeRecord['drain'] {
  const { drain_requested_at: requestedAtMs, drain_deadline_at: deadlineAtMs } = row;
  return requestedAtMs === null || deadlineAtMs === null ? null : { requestedAtMs, deadlineAtMs };
}

/** Times are epoch milliseconds. */
export interface StoredOrphan {
  run_uuid: string;
  attempt: number;
  state: Orphan['state'];
  first_seen_at: number;
  removal_at: number | null;
}

function toOrphan(stored: StoredOrphan): Orphan {
  const { run_uuid: runId, attempt, state, first_seen_at: firstSeenAtMs, removal_at: removalAtMs } = stored;
  return { runId, attempt, state, firstSeenAtMs, removalAtMs };
}

/**
 * The machine changed, or its free space did; what placements rest on moves the version. `hello` is the count that the
 * connection got (connectNode): once the agent has said hello elsewhere, what comes late over the older one is not stored.
 */
export async function updateInventory(
  sql: Sql,
  { nodeId, hello }: { nodeId: string; hello: number },
  inventory: Inventory,
): Promise<void> {
  await sql.query(
    `with before as (
       select inventory ->> 'engine_note' as engine_note from nodes where id = $1 and hello_count = $8 for update
     ), changed as (
       update nodes set inventory = $2, isolation = $3, cpu_count = $4, ram_bytes = $5, storage_bytes = $6, gpus = $7,
         version = version + 1, changed_in = pg_current_xact_id(), updated_at = flotilla_now()
       from before where id = $1 returning nodes.inventory ->> 'engine_note' as engine_note
     )
     insert into node_events (node_id, kind, actor, detail)
     select $1, case when c.engine_note is null then 'engine_back' else 'engine_away' end, '{"kind": "node"}',
       jsonb_strip_nulls(jsonb_build_object('reason', c.engine_note))
     from before b, changed c where (b.engine_note is null) <> (c.engine_note is null)`,
    [
      nodeId,
      JSON.stringify(inventory),
      inventory.isolation,
      inventory.cpu_count,
      inventory.ram_bytes,
      inventory.storage_bytes,
      JSON.stringify(inventory.gpus),
      hello,
    ],
  );
}
