// The ledger: transactions, balances, credits, billing rounds, and what holds them against the runs.
import type { BilledRun } from '../domain/ledger.ts';
import type { Sql } from './database.ts';
import { countRows, type ListQuery, type ListResult, orderAndPage, whereOf } from './list-sql.ts';

export interface LedgerTransaction {
  id: string;
  accountId: string;
  kind: 'credit' | 'usage';
  amountMicros: number;
  balanceMicros: number;
  runId: string | null;
  jobId: string | null;
  billedMs: number | null;
  description: string;
  createdAtMs: number;
}

interface TransactionRow {
  id: string;
  account_id: string;
  kind: 'credit' | 'usage';
  amount_micros: number;
  balance_micros: number;
  run_id: string | null;
  job_id: string | null;
  billed_ms: number | null;
  description: string;
  created_at: number;
}

export async function listTransactions(
  sql: Sql,
  query: ListQuery & { accountId: string },
): Promise<ListResult<LedgerTransaction>> {
  const where = whereOf(query, { column: 't.account_id', value: query.accountId });
  const tables = 'ledger_transactions t';
  const rows = await sql.query<TransactionRow>(
    `select t.* from ${tables} where ${where.text} ${orderAndPage(query, 't')}`,
    where.values,
  );
  const count = await countRows(sql, { tables, where, query, found: rows.length });
  return { items: rows.map(toTransaction), ...count };
}

/** Micro-dollars. */
export interface AccountBalance {
  balanceMicros: number;
  /** What its runs cost since they were billed last. */
  accruedMicros: number;
  /** An hour, of the runs that are under way. */
  rateMicros: number;
  isPrepaid: boolean;
}

/** null: no such account. */
export async function getBalance(sql: Sql, accountId: string): Promise<AccountBalance | null> {
  const [row] = await sql.query<{ balance: number; available: number; rate: number; is_prepaid: boolean }>(
    {
      name: 'get_balance',
      text: `select coalesce(b.balance_micros, 0) as balance, flotilla_available_micros(a.id) as available,
          (select coalesce(sum(r.hourly_rate_micros), 0) from job_runs r where r.account_id = a.id
            and r.hourly_rate_micros > 0 and r.started_at is not null and not r.is_billed and r.ended_at is null)::bigint as rate,
          flotilla_is_prepaid(a) as is_prepaid
        from accounts a left join account_balances b on b.account_id = a.id where a.id = $1`,
    },
    [accountId],
  );
  if (row === undefined) return null;
  const { balance, available, rate, is_prepaid: isPrepaid } = row;
  return { balanceMicros: balance, accruedMicros: balance - available, rateMicros: rate, isPrepaid };
}

/** null: no such account. A negative amount takes credits back. */
export async function grantCredits(
  sql: Sql,
  grant: {
    id: string;
    accountId: string;
    amountMicros: number;
    description: string;
    actor: Record<string, unknown>;
  },
): Promise<LedgerTransaction | null> {
  const [row] = await sql.query<TransactionRow>(
    `with balance as (
       insert into account_balances as b (account_id, balance_micros) select id, $3 from accounts where id = $2
       on conflict (account_id) do update set balance_micros = b.balance_micros + $3 returning b.balance_micros
     ), posted as (
       insert into ledger_transactions (id, account_id, kind, amount_micros, balance_micros, description, actor)
       select $1, $2, 'credit', $3, b.balance_micros, $4, $5 from balance b returning *
     ), entries as (
       insert into ledger_entries (transaction_id, book, amount_micros)
       select p.id, e.book, e.sign * p.amount_micros from posted p cross join (values ('credits', 1), ('granted', -1)) e(book, sign)
     )
     select * from posted`,
    [grant.id, grant.accountId, grant.amountMicros, grant.description, JSON.stringify(grant.actor)],
  );
  return row === undefined ? null : toTransaction(row);
}

/** One round; answers how many runs were looked at, fewer than `limit` when none is left. */
export async function billRuns(
  sql: Sql,
  { limit, everyMs, actor }: { limit: number; everyMs: number; actor: Record<string, unknown> },
): Promise<number> {
  const [row] = await sql.query<{ looked_at: number }>(
    { name: 'bill_runs', text: 'select flotilla_bill_runs($1, $2, $3) as looked_at' },
    [limit, everyMs, JSON.stringify(actor)],
  );
  return row?.looked_at ?? 0;
}

export interface LedgerRun extends BilledRun {
  id: string;
  /** What the ledger has posted for it. */
  postedMicros: number;
  postedMs: number;
}

/** Runs that are billed to their end, by id after `afterId`, with what was posted for each. */
export async function listBilledRuns(
  sql: Sql,
  { afterId, limit }: { afterId: string; limit: number },
): Promise<LedgerRun[]> {
  const us = (column: string) => `(extract(epoch from ${column}) * 1000000)::bigint`;
  return sql.query<LedgerRun>(
    `select r.id, ${us('r.started_at')} as "startedAtUs", ${us('r.ended_at')} as "endedAtUs",
       ${us('r.teardown_requested_at')} as "stopRequestedAtUs", coalesce(r.stop_grace_ms, 0) as "stopGraceMs",
       r.hourly_rate_micros as "rateMicros", coalesce(sum(-t.amount_micros), 0)::bigint as "postedMicros",
       coalesce(sum(t.billed_ms), 0)::bigint as "postedMs"
     from job_runs r left join ledger_transactions t on t.run_id = r.id
     where r.is_billed and r.id > $1 group by r.id order by r.id limit $2`,
    [afterId, limit],
  );
}

/** Accounts whose balance is not the sum of their transactions, and transactions whose entries do not balance. */
export async function findImbalances(sql: Sql): Promise<{ accounts: string[]; transactions: string[] }> {
  const accounts = await sql.query<{ id: string }>(
    `select a.id from accounts a left join account_balances b on b.account_id = a.id
     where coalesce(b.balance_micros, 0) <>
       coalesce((select sum(t.amount_micros) from ledger_transactions t where t.account_id = a.id), 0) limit 100`,
  );
  const transactions = await sql.query<{ id: string }>(
    `select t.id from ledger_transactions t left join ledger_entries e on e.transaction_id = t.id
     group by t.id having count(e.book) < 2 or sum(e.amount_micros) <> 0
       or sum(e.amount_micros) filter (where e.book = 'credits') <> t.amount_micros limit 100`,
  );
  return { accounts: accounts.map(({ id }) => id), transactions: transactions.map(({ id }) => id) };
}

function toTransaction(row: TransactionRow): LedgerTransaction {
  return {
    id: row.id,
    accountId: row.account_id,
    kind: row.kind,
    amountMicros: row.amount_micros,
    balanceMicros: row.balance_micros,
    runId: row.run_id,
    jobId: row.job_id,
    billedMs: row.billed_ms,
    description: row.description,
    createdAtMs: row.created_at,
  };
}
