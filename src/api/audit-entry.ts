// What a route tells the audit log: the change, and who made it with which key from where.
import { type NewAuditEntry, writeAuditEntry } from '../db/audit-log.ts';
import type { Sql } from '../db/database.ts';
import { actorOf, type Caller } from './auth.ts';
import type { ApiDeps } from './deps.ts';

export type RightsChange = Pick<
  NewAuditEntry,
  'accountId' | 'action' | 'subjectKind' | 'subjectId' | 'detail'
>;

/** As the last statement of the transaction that makes the change. */
export async function recordChange(
  sql: Sql,
  { caller, deps }: { caller: Caller; deps: Pick<ApiDeps, 'newId'> },
  change: RightsChange,
): Promise<void> {
  const actor = { ...actorOf(caller), account_uuid: caller.accountId, user_uuid: caller.key.userId };
  await writeAuditEntry(sql, { id: deps.newId(), actor, ...change });
}
