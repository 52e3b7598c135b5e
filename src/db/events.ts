// Events of accounts: read in the order they were committed, from where a reader stands; and listed.
import type { EventPosition } from '../domain/event-position.ts';
import type { Sql } from './database.ts';
import { countRows, type ListQuery, type ListResult, whereOf } from './list-sql.ts';

export interface EventRecord {
  id: number;
  accountId: string;
  jobId: string | null;
  runId: string | null;
  kind: string;
  fromStatus: string | null;
  toStatus: string | null;
  actor: Record<string, unknown>;
  detail: Record<string, unknown> | null;
  createdAtMs: number;
  /** The transaction that wrote it. */
  writtenIn: bigint;
}

export interface EventReader {
  accountId: string;
  position: EventPosition;
}

export interface EventBatch {
  events: EventRecord[];
  /** Where the reader stands after the event of the same index. */
  positions: EventPosition[];
  /** After all of them; more follows when `within` is not null. */
  next: EventPosition;
}

interface EventRow {
  id: number | null;
  account_id: string;
  job_id: string | null;
  run_id: string | null;
  kind: string;
  from_status: string | null;
  to_status: string | null;
  actor: Record<string, unknown>;
  detail: Record<string, unknown> | null;
  created_at: number;
  written_in: string;
}

const columns = `e.id, e.account_id, e.job_id, e.run_id, e.kind, e.from_status, e.to_status, e.actor, e.detail, e.created_at,
  e.written_in::text as written_in`;

/** Where a reader stands that wants only what is still to come. */
export async function currentEventPosition(sql: Sql): Promise<EventPosition> {
  const [row] = await sql.query<{ since: string; at: number }>({
    name: 'current_event_position',
    text: 'select pg_current_snapshot()::text as since, flotilla_now() as at',
  });
  if (row === undefined) throw new Error('The database did not tell its snapshot.');
  return { since: row.since, atMs: row.at, within: null };
}

/**
 * What is new for each of the readers, in one statement, at most `limit` events each. Within a batch events are in the
 * order of their ids, which is that of the changes of one job: they were given under the job's lock.
 */
export async function readEvents(
  sql: Sql,
  readers: readonly EventReader[],
  limit: number,
): Promise<EventBatch[]> {
  const rows = await sql.query<EventRow & { ordinal: number; until: string; at: number }>(
    {
      name: 'read_events',
      text: readText('e.account_id = r.owner_id and e.written_in >= pg_snapshot_xmin(r.since)'),
    },
    [readers.map(({ accountId }) => accountId), ...positionValues(readers), limit],
  );
  const byReader = Map.groupBy(rows, (row) => row.ordinal);
  return readers.map((reader, at) => toBatch(reader.position, byReader.get(at + 1) ?? [], limit));
}

/** As readEvents, of one job. */
export async function readJobEvents(
  sql: Sql,
  { jobId, position }: { jobId: string; position: EventPosition },
  limit: number,
): Promise<EventBatch> {
  const rows = await sql.query<EventRow & { until: string; at: number }>(
    { name: 'read_job_events', text: readText('e.job_id = r.owner_id') },
    [[jobId], ...positionValues([{ position }]), limit],
  );
  return toBatch(position, rows, limit);
}

/**
 * Partitions before the oldest reader's day are left out: no transaction lasts for a day. A clock that was set back
 * counts from where it is now.
 */
function readText(condition: string): string {
  return `with readers as materialized (
      select r.ordinal, r.owner_id, r.since::pg_snapshot as since,
        coalesce(r.until::pg_snapshot, pg_current_snapshot()) as until, r.after_id
      from unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[]) with ordinality
        as r(owner_id, since, until, after_id, ordinal)
    )
    select r.ordinal, r.until::text as until, flotilla_now() as at, e.*
    from readers r left join lateral (
      select ${columns} from job_events e
      where ${condition} and e.id > r.after_id
        and e.created_at > least(to_timestamp($5::double precision / 1000), flotilla_now()) - interval '1 day'
        and not pg_visible_in_snapshot(e.written_in, r.since) and pg_visible_in_snapshot(e.written_in, r.until)
      order by e.id limit $6
    ) e on true
    order by r.ordinal, e.id`;
}

function positionValues(readers: readonly { position: EventPosition }[]): unknown[] {
  const positions = readers.map(({ position }) => position);
  return [
    positions.map(({ since }) => since),
    positions.map(({ within }) => within?.until ?? null),
    positions.map(({ within }) => within?.after ?? 0),
    Math.min(...positions.map(({ atMs }) => atMs)),
  ];
}

function toBatch(
  from: EventPosition,
  rows: readonly (EventRow & { until: string; at: number })[],
  limit: number,
): EventBatch {
  const events = rows.filter((row) => row.id !== null).map(toEvent);
  const [first] = rows;
  const until = first?.until ?? from.since;
  const isWhole = events.length < limit;
  const whole: EventPosition = { since: until, atMs: first?.at ?? from.atMs, within: null };
  const positions = events.map((event, at) =>
    isWhole && at === events.length - 1 ? whole : { ...from, within: { until, after: event.id } },
  );
  return { events, positions, next: isWhole ? whole : (positions.at(-1) ?? from) };
}

/** When the account's job was submitted, epoch milliseconds; null: it has no such job. */
export async function jobCreatedAt(
  sql: Sql,
  { jobId, accountId }: { jobId: string; accountId: string },
): Promise<number | null> {
  const [row] = await sql.query<{ created_at: number }>(
    { name: 'job_created_at', text: 'select created_at from jobs where id = $1 and account_id = $2' },
    [jobId, accountId],
  );
  return row?.created_at ?? null;
}

/** Of the account, newest first unless the query says otherwise. */
export async function listEvents(
  sql: Sql,
  query: ListQuery & ({ accountId: string } | { jobId: string }),
): Promise<ListResult<EventRecord>> {
  const owner =
    'jobId' in query
      ? { column: 'e.job_id', value: query.jobId, order: ['e.id'] }
      : { column: 'e.account_id', value: query.accountId, order: ['e.written_in', 'e.id'] };
  const where = whereOf(query, owner);
  const direction = query.sort === 'created_at' ? 'asc' : 'desc';
  const order = owner.order.map((column) => `${column} ${direction}`).join(', ');
  const rows = await sql.query<EventRow>(
    `select ${columns} from job_events e where ${where.text} order by ${order}
     limit ${query.limit} offset ${(query.page - 1) * query.limit}`,
    where.values,
  );
  const count = await countRows(sql, { tables: 'job_events e', where, query, found: rows.length });
  return { items: rows.map(toEvent), ...count };
}

/** What happens to an account and to none of its jobs. */
export async function recordAccountEvent(
  sql: Sql,
  event: { accountId: string; kind: string; actor: Record<string, unknown>; detail: Record<string, unknown> },
): Promise<void> {
  await sql.query(
    'insert into job_events (created_at, account_id, kind, actor, detail) values (flotilla_now(), $1, $2, $3, $4)',
    [event.accountId, event.kind, JSON.stringify(event.actor), JSON.stringify(event.detail)],
  );
}

function toEvent(row: EventRow): EventRecord {
  return {
    id: row.id ?? 0,
    accountId: row.account_id,
    jobId: row.job_id,
    runId: row.run_id,
    kind: row.kind,
    fromStatus: row.from_status,
    toStatus: row.to_status,
    actor: row.actor,
    detail: row.detail,
    createdAtMs: row.created_at,
    writtenIn: BigInt(row.written_in),
  };
}
