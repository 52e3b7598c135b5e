// Weeks of nodes: hours computed from spans and runs, what they earn, and the day on which they are final.
import { earnedMicros, epochMs, epochStart, type NodeHours } from '../domain/epoch.ts';
import { getBilling } from './credit.ts';
import type { Database, Sql } from './database.ts';
import { countRows, type ListQuery, type ListResult, orderAndPage, whereOf } from './list-sql.ts';

export interface EpochRecord extends NodeHours {
  id: string;
  nodeId: string;
  beganAtMs: number;
  status: 'ACTIVE' | 'FINALIZING' | 'FINALIZED';
  earnedMicros: number;
  computedAtMs: number;
  finalizedAtMs: number | null;
}

/** Reports of what ran in a week may come so much later. */
const lateMs = 3_600_000;

export const epochStatus = `case when e.finalized_at is not null then 'FINALIZED'
  when e.began_at + interval '168 hours' <= flotilla_now() then 'FINALIZING' else 'ACTIVE' end`;

/** Rows of this week, and of the weeks since the last one that has any: all servers may have been away. */
export async function openEpochs(sql: Sql): Promise<void> {
  const [row] = await sql.query<{ now: number; last: number | null }>(
    'select flotilla_now() as now, max(began_at) as last from node_epochs',
  );
  if (row === undefined) throw new Error('The database did not tell its time.');
  const currentMs = epochStart(row.now);
  const begins: number[] = [];
  for (let beginMs = Math.min(row.last ?? currentMs, currentMs); beginMs <= currentMs; beginMs += epochMs)
    begins.push(beginMs);
  await sql.query(
    `insert into node_epochs (id, node_id, began_at, computed_at)
     select gen_random_uuid(), n.id, to_timestamp(b.begin / 1000), to_timestamp(b.begin / 1000)
     from nodes n cross join unnest($1::float8[]) b(begin)
     where n.created_at < to_timestamp(b.begin / 1000) + interval '168 hours'
       and (n.status <> 'removed' or exists (select from node_spans s where s.node_id = n.id
         and s.ended_at > to_timestamp(b.begin / 1000)))
     on conflict (node_id, began_at) do nothing`,
    [begins],
  );
}

/** Computes the rows anew that were computed longest ago; those whose week is over become final. Answers how many. */
export async function computeEpochs(
  database: Database,
  { limit, everyMs }: { limit: number; everyMs: number },
): Promise<number> {
  const { nodeRates } = await getBilling(database);
  return database.transaction(async (sql) => {
    const rows = await sql.query<HoursRow & { id: string }>(
      `select e.id, h.available_ms, h.prepared_ms, h.worked_ms
       from (select * from node_epochs where finalized_at is null
           and computed_at <= flotilla_now() - $2 * interval '1 millisecond'
         order by computed_at limit $1 for update skip locked) e
       cross join lateral flotilla_node_hours(e.node_id, e.began_at, e.began_at + interval '168 hours') h`,
      [limit, everyMs],
    );
    if (rows.length === 0) return 0;
    const computed = rows.map(({ id, ...hours }) => {
      return { id, ...hours, earned_micros: earnedMicros(toHours(hours), nodeRates) };
    });
    await sql.query(
      `update node_epochs e set available_ms = i.available_ms, prepared_ms = i.prepared_ms, worked_ms = i.worked_ms,
         earned_micros = i.earned_micros, computed_at = flotilla_now(),
         finalized_at = case when e.began_at + interval '168 hours' + $2 * interval '1 millisecond' <= flotilla_now()
           then flotilla_now() end
       from json_to_recordset($1::json) as i(id uuid, available_ms bigint, prepared_ms bigint, worked_ms bigint,
         earned_micros bigint) where e.id = i.id`,
      [JSON.stringify(computed), lateMs],
    );
    return rows.length;
  });
}

interface HoursRow {
  available_ms: number;
  prepared_ms: number;
  worked_ms: number;
}

function toHours(row: HoursRow): NodeHours {
  return { availableMs: row.available_ms, preparedMs: row.prepared_ms, workedMs: row.worked_ms };
}

/** Of one node, the newest first unless the query says otherwise. */
export async function listEpochs(
  sql: Sql,
  query: ListQuery & { nodeId: string },
): Promise<ListResult<EpochRecord>> {
  const where = whereOf(query, { column: 'e.node_id', value: query.nodeId });
  const tables = '(select n.*, n.began_at as created_at from node_epochs n) e';
  const rows = await sql.query<
    HoursRow & {
      id: string;
      node_id: string;
      began_at: number;
      status: EpochRecord['status'];
      earned_micros: number;
      computed_at: number;
      finalized_at: number | null;
    }
  >(
    `select e.*, ${epochStatus} as status from ${tables} where ${where.text} ${orderAndPage(query, 'e')}`,
    where.values,
  );
  const count = await countRows(sql, { tables, where, query, found: rows.length });
  const items = rows.map((row) => ({
    ...{ id: row.id, nodeId: row.node_id, beganAtMs: row.began_at, status: row.status, ...toHours(row) },
    ...{ earnedMicros: row.earned_micros, computedAtMs: row.computed_at, finalizedAtMs: row.finalized_at },
  }));
  return { items, ...count };
}
