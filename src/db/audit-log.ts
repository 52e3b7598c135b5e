// The audit log: each change of rights is written in the transaction that makes it, chained to the entry before.
import { createHash } from 'node:crypto';
import {
  type AuditContent,
  type AuditHead,
  type ChainedEntry,
  type ChainFault,
  chainFaults,
  chainStart,
  hashOfEntry,
} from '../domain/audit-chain.ts';
import type { AuditAction } from '../protocol/audit.ts';
import type { Sql } from './database.ts';
import { countRows, type ListQuery, type ListResult, orderAndPage, whereOf } from './list-sql.ts';

export interface NewAuditEntry {
  id: string;
  /** Whose rights change; null: the cluster's settings. */
  accountId: string | null;
  action: AuditAction;
  actor: Readonly<Record<string, unknown>>;
  subjectKind: string;
  subjectId: string | null;
  detail: Readonly<Record<string, unknown>>;
}

interface AuditRow {
  sequence: number;
  id: string;
  created_at: number;
  account_id: string | null;
  action: AuditAction;
  actor: Record<string, unknown>;
  subject_kind: string;
  subject_id: string | null;
  detail: Record<string, unknown>;
  previous_hash: string;
  hash: string;
}

export interface AuditRecord extends ChainedEntry {
  action: AuditAction;
}

/** Entries that one statement reads for the check. */
const verifyBatch = 2_000;
const maxFaults = 100;
const sha256Hex = (text: string) => createHash('sha256').update(text).digest('hex');

/** The last statement of its transaction: until that ends, no other entry can be written. */
export async function writeAuditEntry(sql: Sql, entry: NewAuditEntry): Promise<void> {
  const [head] = await sql.query<AuditHead & { now: number }>(
    'select sequence, hash, flotilla_now() as now from audit_head for update',
  );
  if (head === undefined) throw new Error('The head of the audit log is missing.');
  // As it will be read again: what JSON cannot hold is not hashed either.
  const { actor, detail } = JSON.parse(JSON.stringify(entry)) as Pick<AuditContent, 'actor' | 'detail'>;
  const content = { ...entry, actor, detail, sequence: head.sequence + 1, createdAtMs: head.now };
  const hash = hashOfEntry(content, head.hash, sha256Hex);
  await sql.query(
    `with written as (
       insert into audit_log (sequence, id, created_at, account_id, action, actor, subject_kind, subject_id, detail,
         previous_hash, hash)
       values ($1, $2, to_timestamp($3::double precision / 1000), $4, $5, $6, $7, $8, $9, $10, $11)
     )
     update audit_head set sequence = $1, hash = $11`,
    [
      ...[
        content.sequence,
        entry.id,
        content.createdAtMs,
        entry.accountId,
        entry.action,
        JSON.stringify(actor),
      ],
      ...[entry.subjectKind, entry.subjectId, JSON.stringify(detail), head.hash, hash],
    ],
  );
}

/** Of one account, or with null of all and of the cluster. */
export async function listAuditEntries(
  sql: Sql,
  query: ListQuery & { accountId: string | null },
): Promise<ListResult<AuditRecord>> {
  const { accountId } = query;
  const owner =
    accountId === null ? { column: 'true', value: 'true' } : { column: 'l.account_id', value: accountId };
  const where = whereOf(query, owner);
  const tables = 'audit_log l';
  const rows = await sql.query<AuditRow>(
    `select l.* from ${tables} where ${where.text} ${orderAndPage(query, 'l')}`,
    where.values,
  );
  const count = await countRows(sql, { tables, where, query, found: rows.length });
  return { items: rows.map(toRecord), ...count };
}

/** Every entry up to the present last one, computed again. */
export async function verifyAuditLog(
  sql: Sql,
): Promise<{ head: AuditHead; count: number; faults: ChainFault[] }> {
  const [head] = await sql.query<AuditHead>('select sequence, hash from audit_head');
  if (head === undefined) return { head: chainStart, count: 0, faults: [headFault(chainStart)] };
  const faults: ChainFault[] = [];
  let last: AuditHead = chainStart;
  let count = 0;
  for (;;) {
    const rows = await sql.query<AuditRow>(
      'select * from audit_log where sequence > $1 and sequence <= $2 order by sequence limit $3',
      [last.sequence, head.sequence, verifyBatch],
    );
    const entries = rows.map(toRecord);
    faults.push(...chainFaults(entries, last, sha256Hex));
    count += entries.length;
    last = entries.at(-1) ?? last;
    if (rows.length < verifyBatch) break;
  }
  if (last.sequence !== head.sequence || last.hash !== head.hash) faults.push(headFault(head));
  return { head, count, faults: faults.slice(0, maxFaults) };
}

function headFault({ sequence }: AuditHead): ChainFault {
  return { sequence, id: null, fault: 'head' };
}

function toRecord(row: AuditRow): AuditRecord {
  return {
    sequence: row.sequence,
    id: row.id,
    createdAtMs: row.created_at,
    accountId: row.account_id,
    action: row.action,
    actor: row.actor,
    subjectKind: row.subject_kind,
    subjectId: row.subject_id,
    detail: row.detail,
    previousHash: row.previous_hash,
    hash: row.hash,
  };
}
