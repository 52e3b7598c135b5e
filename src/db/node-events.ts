// What happened to nodes: who changed what, and why.
import type { NodeEventKind } from '../protocol/node.ts';
import type { Sql } from './database.ts';
import { countRows, type ListQuery, type ListResult, orderAndPage, whereOf } from './list-sql.ts';

export interface NodeEventRecord {
  id: number;
  nodeId: string;
  createdAtMs: number;
  kind: NodeEventKind;
  actor: Record<string, unknown>;
  detail: Record<string, unknown> | null;
}

export interface NewNodeEvent {
  nodeId: string;
  kind: NodeEventKind;
  actor: Record<string, unknown>;
  detail?: Record<string, unknown>;
}

export async function recordNodeEvent(
  sql: Sql,
  { nodeId, kind, actor, detail }: NewNodeEvent,
): Promise<void> {
  await sql.query('insert into node_events (node_id, kind, actor, detail) values ($1, $2, $3, $4)', [
    nodeId,
    kind,
    JSON.stringify(actor),
    detail === undefined ? null : JSON.stringify(detail),
  ]);
}

interface NodeEventRow {
  id: number;
  node_id: string;
  created_at: number;
  kind: NodeEventKind;
  actor: Record<string, unknown>;
  detail: Record<string, unknown> | null;
}

/** Of one node, newest first unless the query says otherwise. */
export async function listNodeEvents(
  sql: Sql,
  query: ListQuery & { nodeId: string },
): Promise<ListResult<NodeEventRecord>> {
  const where = whereOf(query, { column: 'e.node_id', value: query.nodeId });
  const rows = await sql.query<NodeEventRow>(
    `select e.* from node_events e where ${where.text} ${orderAndPage(query, 'e')}`,
    where.values,
  );
  const count = await countRows(sql, { tables: 'node_events e', where, query, found: rows.length });
  const items = rows.map(({ id, node_id: nodeId, created_at: createdAtMs, kind, actor, detail }) => {
    return { id, nodeId, createdAtMs, kind, actor, detail };
  });
  return { items, ...count };
}

export async function dropNodeEvents(sql: Sql, days: number): Promise<void> {
  await sql.query("delete from node_events where created_at < flotilla_now() - $1 * interval '1 day'", [
    days,
  ]);
}
