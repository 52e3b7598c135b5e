// Identities: people whom an OpenID Connect provider vouches for, with the rights that the operator's mapping gave them.
import type { Permission } from '../protocol/api-key.ts';
import type { Sql } from './database.ts';

export interface Identity {
  id: string;
  issuer: string;
  subject: string;
  email: string | null;
  accountId: string;
  preset: string;
  permissions: readonly Permission[];
}

export interface IdentityRow {
  id: string;
  issuer: string;
  subject: string;
  email: string | null;
  account_id: string;
  preset: string;
  permissions: Permission[];
}

/** Known from before or new; account and rights are those of this sign-in. `isChanged`: they were not so before. */
export async function saveIdentity(
  sql: Sql,
  identity: Identity,
): Promise<{ identity: Identity; isChanged: boolean }> {
  const [before] = await sql.query<{ account_id: string; preset: string }>(
    'select account_id, preset from identities where issuer = $1 and subject = $2 for update',
    [identity.issuer, identity.subject],
  );
  const [row] = await sql.query<IdentityRow>(
    `insert into identities (id, issuer, subject, email, account_id, preset, permissions)
     values ($1, $2, $3, $4, $5, $6, $7)
     on conflict (issuer, subject) do update set email = excluded.email, account_id = excluded.account_id,
       preset = excluded.preset, permissions = excluded.permissions, signed_in_at = flotilla_now()
     returning id, issuer, subject, email, account_id, preset, permissions`,
    [
      ...[identity.id, identity.issuer, identity.subject, identity.email],
      ...[identity.accountId, identity.preset, identity.permissions],
    ],
  );
  if (row === undefined) throw new Error('The identity was not stored.');
  const isChanged = before?.account_id !== row.account_id || before.preset !== row.preset;
  return { identity: toIdentity(row), isChanged };
}

/** Ids of the accounts of that name; or the one account with that id. */
export async function findAccountIds(sql: Sql, nameOrId: string): Promise<string[]> {
  const rows = await sql.query<{ id: string }>(
    'select id from accounts where id::text = lower($1) or name = $1 limit 2',
    [nameOrId],
  );
  return rows.map(({ id }) => id);
}

export function toIdentity(row: IdentityRow): Identity {
  return {
    id: row.id,
    issuer: row.issuer,
    subject: row.subject,
    email: row.email,
    accountId: row.account_id,
    preset: row.preset,
    permissions: row.permissions,
  };
}
