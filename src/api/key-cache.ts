// Signing keys kept in memory for a moment, so that a request costs no extra read; a revoked key's hint voids its copy at once.
import { findSigningKey, type SigningKey } from '../db/api-keys.ts';
import type { Sql } from '../db/database.ts';
import type { Hints } from '../db/hints.ts';
import type { Vault } from '../db/vault.ts';
import { rolePermissions } from './key-presets.ts';

export interface KeyCache {
  find(publicKey: string): Promise<SigningKey | null>;
}

/** What a lost hint can cost: a revoked key works this much longer on another replica. */
const freshMs = 5_000;
/** A bound against a flood of different keys. */
const maxEntries = 10_000;

export function createKeyCache(deps: { sql: Sql; vault: Vault; hints: Hints; now: () => number }): KeyCache {
  const entries = new Map<string, { key: Promise<SigningKey | null>; readAtMs: number }>();
  deps.hints.subscribe((hint) => {
    if (hint.kind === 'key') entries.delete(hint.publicKey);
    if (hint.kind === 'missed') entries.clear();
  });
  return {
    find(publicKey) {
      const cached = entries.get(publicKey);
      if (cached !== undefined && deps.now() - cached.readAtMs < freshMs) return cached.key;
      if (entries.size >= maxEntries) entries.clear();
      const key = findSigningKey(deps.sql, deps.vault, publicKey).then(boundByRole);
      entries.set(publicKey, { key, readAtMs: deps.now() });
      key.catch(() => entries.delete(publicKey));
      return key;
    },
  };
}

/** What the key may do today: no more than the role that its user has now. */
function boundByRole(key: SigningKey | null): SigningKey | null {
  if (key === null || key.userRole === null) return key;
  const bounds = rolePermissions[key.userRole];
  return { ...key, permissions: key.permissions.filter((permission) => bounds.includes(permission)) };
}
