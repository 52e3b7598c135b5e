// Accounts: owners of jobs, keys and nodes.
import type { Database } from './database.ts';
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
