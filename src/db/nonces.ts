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

/** Empties the slot whose turn comes next; every slot holds five minutes, three of four stay readable. */
export async function dropOldNonces(sql: Sql): Promise<void> {
  const [row] = await sql.query<{ slot: number }>('select flotilla_nonce_slot() as slot');
  const next = ((row?.slot ?? 0) + 1) % 4;
  await sql.query(`truncate nonces_${next}`);
}
