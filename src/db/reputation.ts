// What nodes promised and did, judged in rounds from the ends of runs and the events of nodes.
import {
  announcedEnd,
  type Deeds,
  nodeFaults,
  noPromises,
  type Promises,
  withDeeds,
} from '../domain/reputation.ts';
import type { Database, Sql } from './database.ts';

/** More often tells nothing new. */
const roundMs = 300_000;
/** A transaction under way may still write a run that ended before it; none lasts so long. */
const marginMs = 30_000;
/** Rounds further apart than this say nothing of the time between: nobody looked whether nodes were there. */
const maxReadyMs = 3 * roundMs;

interface JudgedRow {
  id: string;
  kept: number | null;
  broken: number | null;
  elapsed_ms: number;
  is_ready: boolean;
  runs_kept: number;
  runs_broken: number;
  losses: number;
}

/** Judges what happened since the last round, if that is long enough ago; safe to run from every replica. */
export async function judgeNodes(database: Database): Promise<void> {
  await database.transaction(async (sql) => {
    const [round] = await sql.query<{ until: string; since: string }>(
      `with r as (
         select done_to, flotilla_now() - $1 * interval '1 millisecond' as until from rounds
         where name = 'reputation' for update skip locked
       )
       select done_to::text as since, until::text as until from r
       where until >= done_to + $2 * interval '1 millisecond'`,
      [marginMs, roundMs],
    );
    if (round === undefined) return;
    const rows = await readDeeds(sql, round);
    await writePromises(sql, rows, round.until);
    await sql.query("update rounds set done_to = $1::timestamptz where name = 'reputation'", [round.until]);
  });
}

/** Times as the database wrote them, to the microsecond: an end between two rounds belongs to one. */
async function readDeeds(sql: Sql, { since, until }: { since: string; until: string }): Promise<JudgedRow[]> {
  return sql.query(
    `with ended as (
       select r.node_id, r.started_at is not null as has_started, r.status_detail ->> 'code' as code,
         coalesce(r.receipt ? 'fenced', false) as is_fenced
       from job_runs r where r.released_at > $1::timestamptz and r.released_at <= $2::timestamptz
     ), runs as (
       select node_id, count(*) filter (where is_fenced or code = any ($3::text[])) as broken,
         count(*) filter (where has_started and not is_fenced and code is distinct from $4
           and (code = any ($3::text[])) is not true) as kept
       from ended group by node_id
     ), lost as (
       select node_id, count(*) as losses from node_events
       where kind = 'lost' and created_at > $1::timestamptz and created_at <= $2::timestamptz group by node_id
     )
     select n.id, p.kept, p.broken, n.status = 'ready' as is_ready,
       extract(epoch from $2::timestamptz - greatest(n.created_at, coalesce(p.as_of, '-infinity')))::double precision
         * 1000 as elapsed_ms,
       coalesce(r.kept, 0) as runs_kept, coalesce(r.broken, 0) as runs_broken, coalesce(l.losses, 0) as losses
     from nodes n left join node_reputations p on p.node_id = n.id left join runs r on r.node_id = n.id
       left join lost l on l.node_id = n.id
     where n.status <> 'removed'`,
    [since, until, nodeFaults, announcedEnd],
  );
}

async function writePromises(sql: Sql, rows: readonly JudgedRow[], asOf: string): Promise<void> {
  const judged = rows.map((row) => ({ id: row.id, ...judge(row) }));
  await sql.query(
    `insert into node_reputations (node_id, kept, broken, as_of)
     select id, kept, broken, $4::timestamptz
     from unnest($1::uuid[], $2::double precision[], $3::double precision[]) p(id, kept, broken)
     on conflict (node_id) do update set kept = excluded.kept, broken = excluded.broken, as_of = excluded.as_of`,
    [judged.map(({ id }) => id), judged.map(({ kept }) => kept), judged.map(({ broken }) => broken), asOf],
  );
}

function judge(row: JudgedRow): Promises {
  const before =
    row.kept === null || row.broken === null ? noPromises : { kept: row.kept, broken: row.broken };
  const deeds: Deeds = {
    runsKept: row.runs_kept,
    runsBroken: row.runs_broken,
    losses: row.losses,
    readyMs: row.is_ready ? Math.min(Math.max(0, row.elapsed_ms), maxReadyMs) : 0,
  };
  return withDeeds(before, deeds, row.elapsed_ms);
}
