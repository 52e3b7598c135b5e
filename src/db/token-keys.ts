// The key pairs that sign access tokens: made and replaced here, one replica at a time, so that all of them agree.
import type { Database, Sql } from './database.ts';
import { oneAtATime } from './start-lock.ts';
import type { Vault } from './vault.ts';

export type Jwk = Record<string, unknown>;

export interface TokenKey {
  /** The `kid` of tokens. */
  id: string;
  publicJwk: Jwk;
  privateJwk: Jwk;
  /** False for one that is published ahead, and for one that only verifies any more. */
  isSigning: boolean;
}

interface TokenKeyRow {
  id: string;
  public_jwk: Jwk;
  private_sealed: Buffer;
  signs_from: number;
  now: number;
}

const dayMs = 86_400_000;
/** How long a key signs. */
const signingMs = 30 * dayMs;
/** Published so long before it signs, and verifying so long after: more than a token lives and a reader keeps the set. */
const overlapMs = 3_600_000;

/** The keys in use, newest first; makes the first one, or the next when its time has come, and drops what is over. */
export async function openTokenKeys(
  database: Database,
  options: { vault: Vault; newPair: () => Promise<{ id: string; publicJwk: Jwk; privateJwk: Jwk }> },
): Promise<TokenKey[]> {
  const rows = await readRows(database);
  const current = isDue(rows)
    ? await oneAtATime(database, (sql) => replaceKeys(sql, options))
    : rows.slice(0, inUse(rows));
  return current.map((row, index) => ({
    id: row.id,
    publicJwk: row.public_jwk,
    privateJwk: JSON.parse(options.vault.open(row.private_sealed, ownerOf(row.id))) as Jwk,
    isSigning: index === signingIndex(current),
  }));
}

async function replaceKeys(
  sql: Sql,
  { vault, newPair }: Parameters<typeof openTokenKeys>[1],
): Promise<TokenKeyRow[]> {
  const before = await readRows(sql);
  if (isDue(before)) {
    const { id, publicJwk, privateJwk } = await newPair();
    const sealed = vault.seal(JSON.stringify(privateJwk), ownerOf(id));
    const [newest] = before;
    await sql.query(
      `insert into token_keys (id, public_jwk, private_sealed, signs_from) values ($1, $2, $3,
         case when $4::timestamptz is null then flotilla_now()
           else greatest($4::timestamptz + $5 * interval '1 millisecond', flotilla_now() + $6 * interval '1 millisecond') end)`,
      [
        ...[id, JSON.stringify(publicJwk), sealed],
        newest === undefined ? null : new Date(newest.signs_from).toISOString(),
        ...[signingMs, overlapMs],
      ],
    );
  }
  const rows = await readRows(sql);
  const current = rows.slice(0, inUse(rows));
  await sql.query('delete from token_keys where id <> all ($1)', [current.map(({ id }) => id)]);
  return current;
}

async function readRows(sql: Sql): Promise<TokenKeyRow[]> {
  return sql.query<TokenKeyRow>(
    'select id, public_jwk, private_sealed, signs_from, flotilla_now() as now from token_keys order by signs_from desc',
  );
}

function isDue([newest]: readonly TokenKeyRow[]): boolean {
  return newest === undefined || newest.signs_from + signingMs - overlapMs <= newest.now;
}

/** The oldest where none has begun: the database's clock went back. */
function signingIndex(rows: readonly TokenKeyRow[]): number {
  const index = rows.findIndex((row) => row.signs_from <= row.now);
  return index < 0 ? rows.length - 1 : index;
}

/** How many of the newest: those to come, the one that signs, and its predecessor until its last token is over. */
function inUse(rows: readonly TokenKeyRow[]): number {
  const signing = signingIndex(rows);
  const since = rows[signing];
  if (since === undefined) return rows.length;
  return since.signs_from + overlapMs > since.now ? signing + 2 : signing + 1;
}

function ownerOf(id: string): string {
  return `token_key/${id}`;
}
