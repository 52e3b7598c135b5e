// The chain of the audit log: what of an entry is hashed, and which entries of a log are not as they were written.
import { canonicalJson } from './canonical-json.ts';

export interface AuditContent {
  sequence: number;
  id: string;
  createdAtMs: number;
  accountId: string | null;
  action: string;
  actor: Readonly<Record<string, unknown>>;
  subjectKind: string;
  subjectId: string | null;
  detail: Readonly<Record<string, unknown>>;
}

export interface ChainedEntry extends AuditContent {
  previousHash: string;
  hash: string;
}

export interface AuditHead {
  sequence: number;
  hash: string;
}

export interface ChainFault {
  sequence: number;
  id: string | null;
  fault: 'changed' | 'missing' | 'unlinked' | 'head';
}

type Sha256Hex = (text: string) => string;

/** Before the first entry. */
export const chainStart: AuditHead = { sequence: 0, hash: '0'.repeat(64) };

export function hashOfEntry(content: AuditContent, previousHash: string, sha256Hex: Sha256Hex): string {
  const { sequence, id, createdAtMs, accountId, action, actor, subjectKind, subjectId, detail } = content;
  const hashed = { sequence, id, createdAtMs, accountId, action, actor, subjectKind, subjectId, detail };
  return sha256Hex(`${previousHash}\n${canonicalJson(hashed)}`);
}

/** What is wrong between `after` and the end of `entries`, which come by sequence. */
export function chainFaults(
  entries: readonly ChainedEntry[],
  after: AuditHead,
  sha256Hex: Sha256Hex,
): ChainFault[] {
  const faults: ChainFault[] = [];
  let last = after;
  for (const entry of entries) {
    const { sequence, id, hash, previousHash } = entry;
    if (sequence !== last.sequence + 1)
      faults.push({ sequence: last.sequence + 1, id: null, fault: 'missing' });
    else if (previousHash !== last.hash) faults.push({ sequence, id, fault: 'unlinked' });
    if (hashOfEntry(entry, previousHash, sha256Hex) !== hash) faults.push({ sequence, id, fault: 'changed' });
    last = entry;
  }
  return faults;
}
