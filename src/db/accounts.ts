// Accounts: owners of jobs, keys and nodes.
import type { Database, Sql } from './database.ts';
import { countRows, type ListQuery, type ListResult, orderAndPage, whereOf } from './list-sql.ts';
import { oneAtATime } from './start-lock.ts';

export interface Account {
  id: string;
  name: string;
}

/** The first account of the cluster, made when there is none; the same for replicas that start at the same moment. */
export function openFirstAccount(
  database: Database,
  options: { newId: string; name: string },
): Promise<Account> {
  return oneAtATime(database, async (sql) => {
    await sql.query('insert into accounts (id, name) select $1, $2 where not exists (select from accounts)', [
      options.newId,
      options.name,
    ]);
    const [account] = await sql.query<Account>(
      'select id, name from accounts order by created_at, id limit 1',
    );
    if (account === undefined) throw new Error('There is no account.');
    return account;
  });
}

export interface AccountRecord extends Account {
  createdAtMs: number;
}

interface AccountRow {
  id: string;
  name: string;
  created_at: number;
}

export async function createAccount(sql: Sql, { id, name }: Account): Promise<AccountRecord> {
  const [row] = await sql.query<AccountRow>('insert into accounts (id, name) values ($1, $2) returning *', [
    id,
    name,
  ]);
  if (row === undefined) throw new Error('The account was not stored.');
  return toRecord(row);
}

export async function getAccount(sql: Sql, id: string): Promise<AccountRecord | null> {
  const [row] = await sql.query<AccountRow>(
    { name: 'get_account', text: 'select id, name, created_at from accounts where id = $1' },
    [id],
  );
  return row === undefined ? null : toRecord(row);
}

export async function hasAccount(sql: Sql, id: string): Promise<boolean> {
  return (await getAccount(sql, id)) !== null;
}

/** Of all accounts, or with `accountId` that one alone. */
export async function listAccounts(
  sql: Sql,
  query: ListQuery & { accountId: string | null },
): Promise<ListResult<AccountRecord>> {
  const { accountId } = query;
  const owner = accountId === null ? { column: 'true', value: 'true' } : { column: 'a.id', value: accountId };
  const where = whereOf(query, owner);
  const tables = 'accounts a';
  const rows = await sql.query<AccountRow>(
    `select a.id, a.name, a.created_at from ${tables} where ${where.text} ${orderAndPage(query, 'a')}`,
    where.values,
  );
  const count = await countRows(sql, { tables, where, query, found: rows.length });
  return { items: rows.map(toRecord), ...count };
}

function toRecord(row: AccountRow): AccountRecord {
  return { id: row.id, name: row.name, createdAtMs: row.created_at };
}
