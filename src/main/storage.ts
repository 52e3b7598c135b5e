// Opens what a server stands on: data directory, PostgreSQL, schema, master key and the cluster's identity.
import { join } from 'node:path';
import type { Logger } from 'pino';
import { type Account, openFirstAccount } from '../db/accounts.ts';
import { type Cluster, openCluster } from '../db/cluster.ts';
import { createDatabase, type Database, type DatabaseConnection } from '../db/database.ts';
import { migrate } from '../db/migrate.ts';
import { ensurePartitions } from '../db/retention.ts';
import { checkSessions } from '../db/session-check.ts';
import { createVault, type Vault } from '../db/vault.ts';
import { openDataDirectory } from '../embedded/data-directory.ts';
import { readOrCreateMasterKey } from '../embedded/master-key.ts';
import { startEmbeddedPostgres } from '../embedded/postgres.ts';
import { newId } from './ids.ts';

export interface StorageOptions {
  dataDirectory: string;
  /** null: the embedded PostgreSQL. */
  databaseUrl: string | null;
  /** The same database past the pooler that `databaseUrl` goes through; null or absent: there is no pooler. */
  databaseDirectUrl?: string | null;
  /** Progress for people. */
  tell: (line: string) => void;
  log: Logger;
}

export interface Storage {
  database: Database;
  vault: Vault;
  cluster: Cluster;
  account: Account;
  dataDirectory: string;
  close(): Promise<void>;
}

/** Opens everything in order; what was opened is closed again when a later step fails. */
export async function openStorage(options: StorageOptions): Promise<Storage> {
  const closers: (() => Promise<void>)[] = [];
  const close = async () => {
    for (const closer of closers.reverse()) await closer();
  };
  try {
    const directory = await openDataDirectory(options.dataDirectory);
    closers.push(() => directory.release());
    const connection = await connectionOf({ ...options, dataDirectory: directory.path }, closers);
    const directUrl = options.databaseDirectUrl ?? null;
    const database = createDatabase({
      connection,
      ...(directUrl === null ? {} : { directConnection: { url: directUrl } }),
      onError: (error) => options.log.warn({ err: error }, 'A database connection was lost.'),
    });
    closers.push(() => database.close());
    if (options.databaseUrl !== null)
      await checkSessions(database, { hasDirectConnection: directUrl !== null });
    const applied = await (directUrl === null ? migrate(database) : migrateDirectly(directUrl));
    const opened = await prepare(database, { ...options, applied, dataDirectory: directory.path });
    return { database, ...opened, dataDirectory: directory.path, close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function connectionOf(
  { databaseUrl, dataDirectory, tell, log }: StorageOptions,
  closers: (() => Promise<void>)[],
): Promise<DatabaseConnection> {
  if (databaseUrl !== null) return { url: databaseUrl };
  const postgres = await startEmbeddedPostgres({
    dataDirectory,
    log: tell,
    onUnexpectedExit: (reason) =>
      log.error({ reason }, 'PostgreSQL ended unexpectedly; it is started again.'),
  });
  closers.push(() => postgres.stop());
  return postgres.connection;
}

/** A long migration is no business of a pooler, which may have time limits of its own. */
async function migrateDirectly(url: string): Promise<string[]> {
  const direct = createDatabase({ connection: { url }, poolSize: 1 });
  try {
    return await migrate(direct);
  } finally {
    await direct.close();
  }
}

async function prepare(
  database: Database,
  { dataDirectory, tell, log, applied }: StorageOptions & { applied: string[] },
) {
  if (applied.length > 0) tell(`database schema is up to date (${applied.join(', ')})`);
  log.info({ applied }, 'The database schema is up to date.');
  await ensurePartitions(database);
  const vault = createVault(
    readOrCreateMasterKey({ file: join(dataDirectory, 'master-key'), env: process.env }),
  );
  const cluster = await openCluster(database, { vault, newId: newId() });
  const account = await openFirstAccount(database, { newId: newId(), name: 'admin' });
  return { vault, cluster, account };
}
