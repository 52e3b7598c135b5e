// Opens what a server stands on: data directory, PostgreSQL, schema, master key and the cluster's identity.
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { type Account, openFirstAccount } from '../db/accounts.ts';
import { type Cluster, openCluster } from '../db/cluster.ts';
import {
  createDatabase,
  type Database,
  type DatabaseConnection,
  DatabaseUnavailable,
} from '../db/database.ts';
import { migrate } from '../db/migrate.ts';
import { ensurePartitions } from '../db/retention.ts';
import { checkSessions } from '../db/session-check.ts';
import { createVault, nonceBytes, type Vault } from '../db/vault.ts';
import { openDataDirectory } from '../embedded/data-directory.ts';
import { readOrCreateMasterKey } from '../embedded/master-key.ts';
import { startEmbeddedPostgres } from '../embedded/postgres.ts';
import { newId } from './ids.ts';
import { createRandomPool } from './random-pool.ts';

export interface StorageOptions {
  dataDirectory: string;
  /** null: the embedded PostgreSQL. */
  databaseUrl: string | null;
  /** The same database past the pooler that `databaseUrl` goes through; null or absent: there is no pooler. */
  databaseDirectUrl?: string | null;
  /** Progress for people. */
  tell: (line: string) => void;
  log: Logger;
  /** Ends the waiting for a database that is away. */
  signal?: AbortSignal;
}

export interface Storage {
  database: Database;
  vault: Vault;
  cluster: Cluster;
  account: Account;
  dataDirectory: string;
  close(): Promise<void>;
}

/** Longer than a PostgreSQL restarts and recovers; a wrong address is told at once, and again at the end. */
const databaseWaitMs = 60_000;
const databaseRetryMs = 500;

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
    const opened = await onceAvailable(options, async () => {
      if (options.databaseUrl !== null)
        await checkSessions(database, { hasDirectConnection: directUrl !== null });
      const applied = await (directUrl === null ? migrate(database) : migrateDirectly(directUrl));
      return prepare(database, { ...options, applied, dataDirectory: directory.path });
    });
    return { database, ...opened, dataDirectory: directory.path, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** A server starts beside its database, or while that restarts: what can be done again is, for a while. */
async function onceAvailable<T>({ tell, signal }: StorageOptions, open: () => Promise<T>): Promise<T> {
  const giveUpAtMs = performance.now() + databaseWaitMs;
  for (let tries = 1; ; tries += 1) {
    try {
      return await open();
    } catch (error) {
      const isOver = signal?.aborted || performance.now() >= giveUpAtMs;
      if (!(error instanceof DatabaseUnavailable) || isOver) throw error;
      if (tries === 1) tell(`${error.message} Trying again for ${databaseWaitMs / 1000} s.`);
      await sleep(databaseRetryMs, undefined, { ...(signal && { signal }) }).catch(() => {});
    }
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
    createRandomPool(nonceBytes),
  );
  const cluster = await openCluster(database, { vault, newId: newId() });
  const account = await openFirstAccount(database, { newId: newId(), name: 'admin' });
  return { vault, cluster, account };
}
