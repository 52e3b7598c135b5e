// Wire shapes of the audit log: every change of rights, who made it, and whether the chain of its hashes holds.
import Type, { type Static } from 'typebox';
import { ListOf } from './list.ts';
import { Nullable, Timestamp, Uuid, Words } from './schema.ts';

export const auditActions = [
  'account_created',
  'user_created',
  'user_updated',
  'user_removed',
  'key_created',
  'key_updated',
  'key_rotated',
  'key_revoked',
  'session_revoked',
  'identity_mapped',
  'node_removed',
  'credits_granted',
  'rates_set',
  'rate_limit_set',
  'billing_set',
  'prepaid_set',
  'gpu_registry_created',
  'gpu_registry_updated',
] as const;
export type AuditAction = (typeof auditActions)[number];

const Hash = Type.String({ pattern: '^[0-9a-f]{64}$' });
const Fields = Type.Record(Type.String(), Type.Unknown());

export const AuditEntry = Type.Object({
  object: Type.Literal('audit_entry'),
  uuid: Uuid,
  sequence: Type.Integer({ minimum: 1 }),
  created_at: Timestamp,
  account_uuid: Nullable(Uuid),
  action: Words(auditActions),
  actor: Fields,
  subject_kind: Type.String(),
  subject_uuid: Nullable(Uuid),
  detail: Fields,
  previous_hash: Hash,
  hash: Hash,
});
export type AuditEntry = Static<typeof AuditEntry>;
export const AuditEntryList = ListOf(AuditEntry);

export const auditFaults = ['changed', 'missing', 'unlinked', 'head'] as const;
export type AuditFault = (typeof auditFaults)[number];

/** Whether every entry is as it was written. */
export const AuditVerification = Type.Object({
  object: Type.Literal('audit_verification'),
  is_right: Type.Boolean(),
  entry_count: Type.Integer({ minimum: 0 }),
  head_sequence: Type.Integer({ minimum: 0, description: 'of the last entry' }),
  head_hash: Type.String({ description: 'keep it elsewhere: it tells a log that was rewritten as a whole' }),
  wrong_entries: Type.Array(
    Type.Object({
      sequence: Type.Integer(),
      uuid: Nullable(Uuid),
      fault: Words(auditFaults, {
        description:
          'changed: its hash is not that of its content; missing: there is none of that number; unlinked: it does not hold the hash of the one before; head: the log does not end where it ended last',
      }),
    }),
    { description: 'at most 100' },
  ),
});
export type AuditVerification = Static<typeof AuditVerification>;
