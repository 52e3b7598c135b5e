// Sessions as their account sees them: listed, and one locked before it is ended.

import type { Sql } from './database.ts';
import { countRows, type ListQuery, type ListResult, orderAndPage, whereOf } from './list-sql.ts';

export interface SessionRecord {
  id: string;
  accountId: string;
  keyId: string | null;
  identityId: string | null;
  issuer: string | null;
  subject: string | null;
  email: string | null;
  permissions: readonly string[];
  address: string;
  createdAtMs: number;
  expiresAtMs: number;
  revokedAtMs: number | null;
  revokedReason: string | null;
}

interface SessionListRow {
  id: string;
  account_id: string;
  key_id: string | null;
  identity_id: string | null;
  issuer: string | null;
  subject: string | null;
  email: string | null;
  permissions: string[];
  address: string;
  created_at: number;
  expires_at: number;
  revoked_at: number | null;
  revoked_reason: string | null;
}

const columns = 's.*, i.issuer, i.subject, i.email';
const tables = 'sessions s left join identities i on i.id = s.identity_id';

/** Those that ended too, for a day. */
export async function listSessions(
  sql: Sql,
  query: ListQuery & { accountId: string },
): Promise<ListResult<SessionRecord>> {
  const where = whereOf(query, { column: 's.account_id', value: query.accountId });
  const rows = await sql.query<SessionListRow>(
    `select ${columns} from ${tables} where ${where.text} ${orderAndPage(query, 's')}`,
    where.values,
  );
  const count = await countRows(sql, { tables, where, query, found: rows.length });
  return { items: rows.map(toRecord), ...count };
}

/** Of that account alone; `accountId` null: of any. */
export async function lockSession(
  sql: Sql,
  { id, accountId }: { id: string; accountId: string | null },
): Promise<SessionRecord | null> {
  const [row] = await sql.query<SessionListRow>(
    `select ${columns} from ${tables} where s.id = $1 and ($2::uuid is null or s.account_id = $2) for update of s`,
    [id, accountId],
  );
  return row === undefined ? null : toRecord(row);
}

function toRecord(row: SessionListRow): SessionRecord {
  return {
    ...{ id: row.id, accountId: row.account_id, keyId: row.key_id, identityId: row.identity_id },
    ...{ issuer: row.issuer, subject: row.subject, email: row.email },
    ...{ permissions: row.permissions, address: row.address },
    createdAtMs: row.created_at,
    expiresAtMs: row.expires_at,
    revokedAtMs: row.revoked_at,
    revokedReason: row.revoked_reason,
  };
}
