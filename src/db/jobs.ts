// Jobs: get, list, and what an idempotency key made.
import type { Sql } from './database.ts';
import { groupReads } from './grouped-reads.ts';
import { type JobRecord, type JobRow, jobColumns, jobTables, toJobRecord } from './job-rows.ts';
import { countRows, type ListQuery, type ListResult, orderAndPage, whereOf } from './list-sql.ts';
import type { Vault } from './vault.ts';

const selectJobs = {
  name: 'select_jobs',
  text: `select ${jobColumns} from ${jobTables} where j.id = any ($1::uuid[])`,
};

export interface JobReader {
  /** The job, or null when it is unknown or of another account. */
  get(job: { id: string; accountId: string }): Promise<JobRecord | null>;
}

const readGroup = { maxSize: 100, maxUnderWay: 2 };

/** Jobs read by their lower-case id; reads that arrive together share one statement. */
export function createJobReader(sql: Sql, vault: Vault): JobReader {
  const rowOf = groupReads<string, JobRow | undefined>(async (ids) => {
    const rows = await sql.query<JobRow>(selectJobs, [[...new Set(ids)]]);
    const byId = new Map(rows.map((row) => [row.id, row]));
    return ids.map((id) => byId.get(id));
  }, readGroup);
  return {
    async get({ id, accountId }) {
      const row = await rowOf(id);
      return row === undefined || row.account_id !== accountId ? null : toJobRecord(row, vault);
    },
  };
}

/** Newest first unless the query says otherwise. */
export async function listJobs(
  sql: Sql,
  vault: Vault,
  query: ListQuery & { accountId: string },
): Promise<ListResult<JobRecord>> {
  const where = whereOf(query, { column: 'j.account_id', value: query.accountId });
  const rows = await sql.query<JobRow>(
    `select ${jobColumns} from ${jobTables} where ${where.text} ${orderAndPage(query, 'j')}`,
    where.values,
  );
  const count = await countRows(sql, { tables: jobTables, where, query, found: rows.length });
  return { items: rows.map((row) => toJobRecord(row, vault)), ...count };
}

/** The job an idempotency key made in the last 24 hours; an older key is freed and null comes back. */
export async function findJobByIdempotencyKey(
  sql: Sql,
  vault: Vault,
  request: { accountId: string; key: string },
): Promise<{ job: JobRecord; hash: Buffer } | null> {
  await sql.query(
    `update jobs set idempotency_key = null, idempotency_hash = null
     where account_id = $1 and idempotency_key = $2 and created_at < flotilla_now() - interval '24 hours'`,
    [request.accountId, request.key],
  );
  const [row] = await sql.query<JobRow & { idempotency_hash: Buffer }>(
    `select ${jobColumns} from ${jobTables} where j.account_id = $1 and j.idempotency_key = $2`,
    [request.accountId, request.key],
  );
  return row === undefined ? null : { job: toJobRecord(row, vault), hash: row.idempotency_hash };
}

/** How many jobs of the account are not ended, counted to `limit`. */
export async function countLiveJobs(sql: Sql, accountId: string, limit: number): Promise<number> {
  const [row] = await sql.query<{ total: number }>(
    `select count(*) as total from (select from jobs
       where account_id = $1 and status in ('PENDING', 'ASSIGNED', 'RUNNING') limit $2) live`,
    [accountId, limit],
  );
  return row?.total ?? 0;
}
