// What a benchmark run owns: a temporary folder, a PostgreSQL, child processes; all of it is gone when the run ends.
import type { ChildProcess } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { createDatabase, type Database } from '../../src/db/database.ts';
import { migrate } from '../../src/db/migrate.ts';
import { ensurePartitions } from '../../src/db/retention.ts';
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../src/embedded/postgres.ts';
import { type Calls, startWorker, type Worker } from './worker.ts';

const endLimitMs = 15_000;

export class Workspace {
  readonly folder = mkdtempSync(join(tmpdir(), 'flotilla-bench-'));
  readonly #children = new Set<ChildProcess>();
  readonly #databases = new Set<Database>();
  #postgres: Promise<EmbeddedPostgres> | undefined;
  #closing: Promise<void> | undefined;
  #lastNumber = 0;

  newFolder(name: string): string {
    this.#lastNumber += 1;
    const folder = join(this.folder, `${name}-${this.#lastNumber}`);
    mkdirSync(folder, { mode: 0o700 });
    return folder;
  }

  /** The child is ended with the run if it has not ended before. */
  track(child: ChildProcess): void {
    this.#children.add(child);
    child.on('exit', () => this.#children.delete(child));
  }

  startWorker<Api extends Calls>(file: URL): Worker<Api> {
    const worker = startWorker<Api>(file);
    this.track(worker.child);
    return worker;
  }

  /** An empty database on the run's PostgreSQL: the one Flotilla embeds, with its settings, fsync on. */
  async newDatabase(name: string): Promise<{ url: string; name: string }> {
    const { connection } = await this.#openPostgres();
    this.#lastNumber += 1;
    const fullName = `${name}_${this.#lastNumber}`;
    const client = new pg.Client({ ...connection, database: 'postgres' });
    await client.connect();
    try {
      await client.query(`create database ${fullName}`);
    } finally {
      await client.end();
    }
    const { user, password, host, port } = connection;
    const query = new URLSearchParams({ host, port: String(port) });
    return {
      name: fullName,
      url: `postgres://${user}:${encodeURIComponent(password)}@/${fullName}?${query}`,
    };
  }

  /** A connection of the run's own, to check and to clean. */
  openDatabase(url: string): Database {
    const database = createDatabase({ connection: { url }, poolSize: 2 });
    this.#databases.add(database);
    return database;
  }

  /** A database with Flotilla's schema and nothing of Flotilla running on it. */
  async newFloorDatabase(): Promise<string> {
    const { url } = await this.newDatabase('floor');
    const database = this.openDatabase(url);
    await migrate(database);
    await ensurePartitions(database);
    return url;
  }

  /** Writes dirty pages out, so that no section pays for the one before. */
  async checkpoint(): Promise<void> {
    const { connection } = await this.#openPostgres();
    const client = new pg.Client(connection);
    await client.connect();
    await client.query('checkpoint').finally(() => client.end());
  }

  async postgresVersion(): Promise<string> {
    const { connection } = await this.#openPostgres();
    const client = new pg.Client(connection);
    await client.connect();
    const result = await client.query<{ version: string }>('select version()').finally(() => client.end());
    return result.rows[0]?.version.replace(/ on .*/, '') ?? '';
  }

  #openPostgres(): Promise<EmbeddedPostgres> {
    this.#postgres ??= startEmbeddedPostgres({ dataDirectory: this.newFolder('postgres'), log: () => {} });
    return this.#postgres;
  }

  /** Ends every child, then PostgreSQL, then removes the folder. Safe to call twice. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await Promise.all([...this.#children].map(endChild));
    for (const database of this.#databases) await database.close().catch(() => {});
    const postgres = await this.#postgres?.catch(() => undefined);
    await postgres?.stop();
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  }
}

/** A worker ends when its channel closes, a server on TERM; whoever does neither is killed. */
export async function endChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once('exit', resolve));
  const timer = setTimeout(() => child.kill('SIGKILL'), endLimitMs);
  if (child.connected) child.disconnect();
  else child.kill('SIGTERM');
  await ended;
  clearTimeout(timer);
}
