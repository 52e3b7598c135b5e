// The cluster's identity, and the canary that tells a wrong master key at start.
import type { Sql } from './database.ts';
import { SealBroken, type Vault } from './vault.ts';

export interface Cluster {
  id: string;
  generation: number;
}

const canaryText = 'flotilla';

/** The master key does not belong to this database. */
export class WrongMasterKey extends Error {
  override name = 'WrongMasterKey';
}

/** Reads the cluster, making it on the first start; throws WrongMasterKey when the canary does not open. */
export async function openCluster(sql: Sql, options: { vault: Vault; newId: string }): Promise<Cluster> {
  const { vault, newId } = options;
  const canary = vault.seal(canaryText, `cluster/${newId}`);
  await sql.query(
    'insert into cluster (id, canary, canary_key_id) values ($1, $2, $3) on conflict do nothing',
    [newId, canary, vault.keyId],
  );
  const [row] = await sql.query<{ id: string; generation: number; canary: Buffer; canary_key_id: string }>(
    'select id, generation, canary, canary_key_id from cluster',
  );
  if (row === undefined) throw new Error('The cluster row is missing.');
  checkCanary(row, vault);
  return { id: row.id, generation: row.generation };
}

function checkCanary(row: { id: string; canary: Buffer; canary_key_id: string }, vault: Vault): void {
  try {
    if (vault.open(row.canary, `cluster/${row.id}`) === canaryText) return;
  } catch (error) {
    if (!(error instanceof SealBroken)) throw error;
  }
  throw new WrongMasterKey(
    `The master key ${vault.keyId} does not belong to this database, whose secrets were sealed with key ${row.canary_key_id}. ` +
      'Restore the master key file (or FLOTILLA_MASTER_KEY) that belongs to it.',
  );
}
