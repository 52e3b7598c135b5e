// Brings a database to the newest schema: migrations run once each, in order, under a lock, and are frozen by hash.
import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import type { Database, Sql } from './database.ts';

const folder = new URL('./migrations/', import.meta.url);
/** Any number, the same in every replica: replicas that start together take turns. */
const lockKey = 7_053_201;

export interface Migration {
  name: string;
  sql: string;
  sha256: string;
}

/** A migration that ran here was edited since, or the database is newer than this program. */
export class MigrationMismatch extends Error {
  override name = 'MigrationMismatch';
}

export async function readMigrations(): Promise<Migration[]> {
  const names = (await readdir(folder)).filter((name) => name.endsWith('.sql')).sort();
  return Promise.all(
    names.map(async (name) => {
      const sql = await readFile(new URL(name, folder), 'utf8');
      return { name, sql, sha256: createHash('sha256').update(sql).digest('hex') };
    }),
  );
}

/** Applies what is missing; returns the names applied. */
export async function migrate(database: Database): Promise<string[]> {
  const migrations = await readMigrations();
  return database.transaction(async (sql) => {
    await sql.query('select pg_advisory_xact_lock($1)', [lockKey]);
    await sql.query(
      'create table if not exists schema_migrations (name text primary key, sha256 text not null, applied_at timestamptz not null default now())',
    );
    const applied = await sql.query<{ name: string; sha256: string }>(
      'select name, sha256 from schema_migrations',
    );
    checkApplied(applied, migrations);
    const done = new Set(applied.map((row) => row.name));
    const missing = migrations.filter((migration) => !done.has(migration.name));
    for (const migration of missing) await apply(sql, migration);
    return missing.map((migration) => migration.name);
  });
}

function checkApplied(applied: { name: string; sha256: string }[], migrations: Migration[]): void {
  const known = new Map(migrations.map((migration) => [migration.name, migration.sha256]));
  for (const { name, sha256 } of applied) {
    const expected = known.get(name);
    if (expected === undefined) {
      throw new MigrationMismatch(
        `The database has the migration ${name}, which this version of Flotilla does not know: start a newer version.`,
      );
    }
    if (expected !== sha256) {
      throw new MigrationMismatch(
        `The migration ${name} was changed after it ran on this database; restore the file, and write a new migration instead.`,
      );
    }
  }
}

async function apply(sql: Sql, migration: Migration): Promise<void> {
  try {
    await sql.query(migration.sql);
  } catch (cause) {
    throw new Error(
      `Cannot apply the migration ${migration.name}: ${cause instanceof Error ? cause.message : cause}`,
      { cause },
    );
  }
  await sql.query('insert into schema_migrations (name, sha256) values ($1, $2)', [
    migration.name,
    migration.sha256,
  ]);
}
