// Nonces: each request with effect and each upgrade is taken once per key.
import type { Database, Sql } from './database.ts';

/** True the first time this key shows this nonce within ten minutes and more. */
export async function claimNonce(sql: Sql, keyId: string, nonce: string): Promise<boolean> {
  const [row] = await sql.query<{ fresh: boolean }>(
    { name: 'claim_nonce', text: 'select flotilla_claim_nonce($1, $2) as fresh' },
    [keyId, nonce],
  );
  return row?.fresh === true;
}

/** Empties the slot whose turn comes next; every slot holds five minutes, three of four stay readable. */
export async function dropOldNonces(database: Database): Promise<void> {
  await database.transaction(async (sql) => {
    const [row] = await sql.query<{ slot: number }>('select flotilla_nonce_slot() as slot');
    const table = `nonces_${((row?.slot ?? 0) + 1) % 4}`;
    const [used] = await sql.query(`select from ${table} limit 1`);
    if (used === undefined) return;
    // Whoever waits for this lock waits in front of every request: rather not now than long.
    await sql.query("set local lock_timeout = '500ms'");
    await sql.query(`truncate ${table}`);
  });
}
