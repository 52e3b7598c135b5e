// Nonces: each request with effect and each upgrade is taken once per key.
import type { Sql } from './database.ts';

/** True the first time this key shows this nonce within ten minutes and more. */
export async function claimNonce(sql: Sql, keyId: string, nonce: string): Promise<boolean> {
  const [row] = await sql.query<{ fresh: boolean }>(
    { name: 'claim_nonce', text: 'select flotilla_claim_nonce($1, $2) as fresh' },
    [keyId, nonce],
  );
  return row?.fresh === true;
}

/** Forgets nonces that are older than anyone may show again. */
export async function dropOldNonces(sql: Sql): Promise<void> {
  await sql.query('select flotilla_drop_old_nonces()');
}
