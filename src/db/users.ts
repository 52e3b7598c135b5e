// Users: people of an account, each with a role that bounds their keys.
import type { UserRole } from '../protocol/user.ts';
import { type Sql, sqlState } from './database.ts';
import { countRows, type ListQuery, type ListResult, orderAndPage, whereOf } from './list-sql.ts';

export interface UserRecord {
  id: string;
  accountId: string;
  email: string;
  role: UserRole;
  removedAtMs: number | null;
  createdAtMs: number;
}

interface UserRow {
  id: string;
  account_id: string;
  email: string;
  role: UserRole;
  removed_at: number | null;
  created_at: number;
}

/** One user, of that account alone; `accountId` null: of any. */
export interface UserOf {
  id: string;
  accountId: string | null;
}

/** null: the account has a user of that address already, or there is no such account. */
export async function createUser(
  sql: Sql,
  user: { id: string; accountId: string; email: string; role: UserRole },
): Promise<UserRecord | null> {
  const [row] = await sql.query<UserRow>(
    `insert into users (id, account_id, email, role) values ($1, $2, $3, $4)
     on conflict (lower(email), account_id) where removed_at is null do nothing returning *`,
    [user.id, user.accountId, user.email, user.role],
  );
  return row === undefined ? null : toRecord(row);
}

export async function getUser(sql: Sql, { id, accountId }: UserOf): Promise<UserRecord | null> {
  const [row] = await sql.query<UserRow>(
    { name: 'get_user', text: 'select * from users where id = $1 and ($2::uuid is null or account_id = $2)' },
    [id, accountId],
  );
  return row === undefined ? null : toRecord(row);
}

/** Those who were not removed, the oldest first: one person may belong to several accounts. */
export async function findUsersByEmail(sql: Sql, email: string): Promise<UserRecord[]> {
  const rows = await sql.query<UserRow>(
    'select * from users where lower(email) = lower($1) and removed_at is null order by created_at, id limit 100',
    [email],
  );
  return rows.map(toRecord);
}

export async function listUsers(
  sql: Sql,
  query: ListQuery & { accountId: string },
): Promise<ListResult<UserRecord>> {
  const where = whereOf(query, { column: 'u.account_id', value: query.accountId });
  const tables = 'users u';
  const rows = await sql.query<UserRow>(
    `select u.* from ${tables} where ${where.text} ${orderAndPage(query, 'u')}`,
    where.values,
  );
  const count = await countRows(sql, { tables, where, query, found: rows.length });
  return { items: rows.map(toRecord), ...count };
}

/** Of a user who was not removed; 'taken': the account has another user of that address. */
export async function updateUser(
  sql: Sql,
  { id, accountId }: UserOf,
  change: { email: string | null; role: UserRole | null },
): Promise<UserRecord | 'missing' | 'taken'> {
  try {
    const [row] = await sql.query<UserRow>(
      `update users set email = coalesce($3, email), role = coalesce($4, role)
       where id = $1 and ($2::uuid is null or account_id = $2) and removed_at is null returning *`,
      [id, accountId, change.email, change.role],
    );
    return row === undefined ? 'missing' : toRecord(row);
  } catch (error) {
    if (sqlState(error) === '23505') return 'taken';
    throw error;
  }
}

/** For good, and with it every key of the user; answers those keys, too. null: there is no such user. */
export async function removeUser(
  sql: Sql,
  { id, accountId }: UserOf,
): Promise<{ user: UserRecord; publicKeys: string[] } | null> {
  const [row] = await sql.query<UserRow>(
    `update users set removed_at = coalesce(removed_at, flotilla_now())
     where id = $1 and ($2::uuid is null or account_id = $2) returning *`,
    [id, accountId],
  );
  if (row === undefined) return null;
  const keys = await sql.query<{ public_key: string }>(
    'update api_keys set revoked_at = coalesce(revoked_at, flotilla_now()) where user_id = $1 returning public_key',
    [id],
  );
  return { user: toRecord(row), publicKeys: keys.map((key) => key.public_key) };
}

/** Of what is cached of a user's keys. */
export async function listUserKeys(sql: Sql, userId: string): Promise<string[]> {
  const rows = await sql.query<{ public_key: string }>('select public_key from api_keys where user_id = $1', [
    userId,
  ]);
  return rows.map((row) => row.public_key);
}

function toRecord(row: UserRow): UserRecord {
  return {
    id: row.id,
    accountId: row.account_id,
    email: row.email,
    role: row.role,
    removedAtMs: row.removed_at,
    createdAtMs: row.created_at,
  };
}
