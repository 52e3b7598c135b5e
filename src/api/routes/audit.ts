// Routes of the audit log: who changed which rights, and whether the log is as it was written.
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { type AuditRecord, listAuditEntries, verifyAuditLog } from '../../db/audit-log.ts';
import { type AuditEntry, AuditEntryList, AuditVerification, auditActions } from '../../protocol/audit.ts';
import { isClusterAdmin, reachOf } from '../account-scope.ts';
import { type Caller, callerOf, requirePermission } from '../auth.ts';
import type { ApiDeps } from '../deps.ts';
import { timestamp } from '../job-view.ts';
import { type FilterRules, parseListQuery } from '../list-query.ts';
import { listOf, listQuerySchema, rawQueryOf, refuseQuery } from '../route-parts.ts';

const tags = ['Audit log'];
const filters: FilterRules = {
  action: { kind: 'words', column: 'l.action', words: auditActions },
  account_uuid: { kind: 'uuids', column: 'l.account_id' },
  subject_uuid: { kind: 'uuids', column: 'l.subject_id' },
  actor_key_uuid: { kind: 'uuids', column: "(l.actor ->> 'key_uuid')::uuid" },
  created_at: { kind: 'times', column: 'l.created_at' },
};

export function auditRoutes(app: FastifyInstance, deps: ApiDeps): void {
  app.get(
    '/v1/audit-log',
    {
      schema: {
        tags,
        summary: "List changes of rights: your account's, or all for the cluster's admin",
        querystring: listQuerySchema(filters),
        response: { 200: AuditEntryList },
      },
    },
    async (request) => {
      const caller = callerOf(request);
      requirePermission(caller, 'audit:read');
      const query = parseListQuery(rawQueryOf(request), filters);
      const result = await listAuditEntries(deps.database, { ...query, accountId: reachOf(caller) });
      return listOf(
        query,
        result,
        result.items.map((entry) => entryView(entry, caller)),
      );
    },
  );
  app.get(
    '/v1/audit-log/verification',
    {
      schema: {
        tags,
        summary: 'Compute every hash of the audit log again, and compare (admin of the cluster)',
        response: { 200: AuditVerification },
      },
    },
    (request) => verify(request, deps),
  );
}

async function verify(request: FastifyRequest, deps: ApiDeps): Promise<AuditVerification> {
  requirePermission(callerOf(request), 'cluster:admin');
  refuseQuery(request);
  const { head, count, faults } = await verifyAuditLog(deps.database);
  return {
    object: 'audit_verification',
    is_right: faults.length === 0,
    entry_count: count,
    head_sequence: head.sequence,
    head_hash: head.hash,
    wrong_entries: faults.map(({ sequence, id, fault }) => ({ sequence, uuid: id, fault })),
  };
}

function entryView(entry: AuditRecord, caller: Caller): AuditEntry {
  return {
    object: 'audit_entry',
    uuid: entry.id,
    sequence: entry.sequence,
    created_at: timestamp(entry.createdAtMs),
    account_uuid: entry.accountId,
    action: entry.action,
    actor: actorFor(caller, entry),
    subject_kind: entry.subjectKind,
    subject_uuid: entry.subjectId,
    detail: { ...entry.detail },
    previous_hash: entry.previousHash,
    hash: entry.hash,
  };
}

/** Of another account's key, the cluster's admin's, an account learns no more than that. */
function actorFor(caller: Caller, { actor }: AuditRecord): Record<string, unknown> {
  const isVisible = isClusterAdmin(caller) || actor.account_uuid === caller.accountId;
  return isVisible ? { ...actor } : { kind: 'cluster_admin' };
}
