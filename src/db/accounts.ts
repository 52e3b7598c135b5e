// Accounts: owners of jobs, keys and nodes.
import type { Sql } from './database.ts';

export interface Account {
  id: string;
  name: string;
}

/** The first account of the cluster, made when there is none. */
export async function openFirstAccount(sql: Sql, options: { newId: string; name: string }): Promise<Account> {
  await sql.query('insert into accounts (id, name) select $1, $2 where not exists (select from accounts)', [
    options.newId,
    options.name,
  ]);
  const [account] = await sql.query<Account>('select id, name from accounts order by created_at, id limit 1');
  if (account === undefined) throw new Error('There is no account.');
  return account;
}
