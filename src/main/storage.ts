// Opens what a server stands on: data directory, PostgreSQL, schema, master key and the cluster's identity.
import { join } from 'node:path';
import type { Logger } from 'pino';
import { type Account, openFirstAccount } from '../db/accounts.ts';
import { type Cluster, openCluster } from '../db/cluster.ts';
import { createDatabase, type Database, type DatabaseConnection } from '../db/database.ts';
import { migrate } from '../db/migrate.ts';
import { ensurePartitions } from '../db/retention.ts';
import { createVault, type Vault } from '../db/vault.ts';
import { openDataDirectory } from '../embedded/data-directory.ts';
import { readOrCreateMasterKey } from '../embedded/master-key.ts';
import { startEmbeddedPostgres } from '../embedded/postgres.ts';
import { newId } from './ids.ts';

export interface StorageOptions {
  dataDirectory: string;
  /** null: the embedded PostgreSQL. */
  databaseUrl: string | null;
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
    const database = createDatabase({
      connection,
      onError: (error) => options.log.warn({ err: error }, 'A database connection was lost.'),
    });
    closers.push(() => database.close());
    const opened = await prepare(database, { ...options, dataDirectory: directory.path });
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

async function prepare(database: Database, { dataDirectory, tell, log }: StorageOptions) {
  const applied = await migrate(database);
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
