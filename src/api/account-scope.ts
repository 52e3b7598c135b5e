// Whose things a caller reaches: those of their account, and with cluster:admin those of every account.

import { hasAccount } from '../db/accounts.ts';
import type { Sql } from '../db/database.ts';
import type { ListQuery } from '../db/list-sql.ts';
import { uuidPattern } from '../protocol/schema.ts';
import type { Caller } from './auth.ts';
import { notFound } from './errors.ts';

const uuid = new RegExp(uuidPattern);

export function isClusterAdmin({ key }: Caller): boolean {
  return key.permissions.includes('cluster:admin');
}

/** For a thing that is named by its id; null: of any account. */
export function reachOf(caller: Caller): string | null {
  return isClusterAdmin(caller) ? null : caller.accountId;
}

/** The account that a body names, the caller's own where it names none; 404 for one that is out of reach. */
export async function targetAccount(
  caller: Caller,
  { sql, accountUuid }: { sql: Sql; accountUuid: string | null | undefined },
): Promise<string> {
  if (!accountUuid) return caller.accountId;
  const id = accountUuid.toLowerCase();
  if (id === caller.accountId) return id;
  if (!uuid.test(id) || !isClusterAdmin(caller) || !(await hasAccount(sql, id))) throw notFound('account');
  return id;
}

/** For a list: the caller's account, or the one account that the cluster's admin filters by. */
export function listedAccount(caller: Caller, query: ListQuery, column: string): string {
  const filter = query.filters.find((it) => it.kind === 'uuids' && it.column === column);
  const [id] = filter?.kind === 'uuids' ? filter.uuids : [];
  return id !== undefined && isClusterAdmin(caller) ? id.toLowerCase() : caller.accountId;
}
