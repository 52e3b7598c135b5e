// A PostgreSQL of the test's own: the embedded one, the system's 15 or newer, or that behind a pooler; many databases in it.
import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { startEmbeddedPostgres } from '../../src/embedded/postgres.ts';
import { type PgBouncer, startPgBouncer } from './pgbouncer.ts';

export interface TestPostgres {
  /** Creates an empty database and gives its URL, through the pooler where there is one. */
  createDatabase(): Promise<string>;
  /** The same database past the pooler; null where there is none. */
  directUrl(url: string): string | null;
  /** Cuts every connection and comes back only with `resume`. */
  suspend(): Promise<void>;
  resume(): Promise<void>;
  stop(): Promise<void>;
}

/** What every kind of PostgreSQL gives; `url` names a database. */
interface Instance {
  url(database: string): string;
  /** Absent: there is no pooler. */
  directUrl?(database: string): string;
  start(): Promise<void>;
  halt(): Promise<void>;
  /** What halt leaves running. */
  end?(): Promise<void>;
  /** At once and without waiting: this process ends. */
  abandon(): void;
}

export type PostgresKind = 'embedded' | 'system' | 'pgbouncer';

/**
 * FLOTILLA_TEST_POSTGRES chooses where `kind` does not: `embedded` (default), `system`, or `pgbouncer`, which is the
 * system's behind a pooler in transaction mode. With `env` for its processes it is the system's.
 */
export async function startTestPostgres({
  env,
  kind = env === undefined ? chosenKind() : 'system',
}: {
  env?: NodeJS.ProcessEnv;
  kind?: PostgresKind;
} = {}): Promise<TestPostgres> {
  const folder = mkdtempSync('/tmp/flotilla-pg-');
  const instance = { embedded, system, pgbouncer: pooled }[kind](folder, env);
  const abandon = () => {
    instance.abandon();
    rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
  };
  process.once('exit', abandon);
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => process.exit(1));
  await instance.start();
  const direct = (database: string) => (instance.directUrl ?? instance.url)(database);
  const directUrls = new Map<string, string>();
  let created = 0;
  return {
    async createDatabase() {
      created += 1;
      const name = `test_${created}`;
      await ask(direct('postgres'), `create database ${name}`);
      const url = instance.url(name);
      if (direct(name) !== url) directUrls.set(url, direct(name));
      return url;
    },
    directUrl: (url) => directUrls.get(url) ?? null,
    suspend: () => instance.halt(),
    resume: () => instance.start(),
    async stop() {
      await instance.end?.();
      await instance.halt();
      process.off('exit', abandon);
      rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 });
    },
  };
}

function chosenKind(): PostgresKind {
  const kind = process.env.FLOTILLA_TEST_POSTGRES ?? 'embedded';
  if (kind === 'embedded' || kind === 'system' || kind === 'pgbouncer') return kind;
  return assert.fail(`FLOTILLA_TEST_POSTGRES is embedded, system or pgbouncer, not ${kind}`);
}

async function ask(url: string, sql: string): Promise<void> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 5_000 });
  client.on('error', () => {});
  await client.connect();
  await client.query(sql);
  await client.end();
}

function embedded(dataDirectory: string): Instance {
  let running: Awaited<ReturnType<typeof startEmbeddedPostgres>> | undefined;
  return {
    url(database) {
      assert.ok(running, 'PostgreSQL was started');
      const { host, port, user, password } = running.connection;
      const login = `${encodeURIComponent(user)}:${encodeURIComponent(password)}`;
      return `postgres://${login}@localhost:${port}/${database}?host=${encodeURIComponent(host)}`;
    },
    async start() {
      running = await startEmbeddedPostgres({ dataDirectory, log: () => {} });
    },
    async halt() {
      await running?.stop();
    },
    abandon: () => quit(running?.pid()),
  };
}

function system(folder: string, env: NodeJS.ProcessEnv = {}): Instance {
  const binaries = systemBinaries();
  const data = join(folder, 'data');
  const sockets = join(folder, 'sockets');
  const user = postgresUser();
  let running: ChildProcess | undefined;
  const url = (database: string) =>
    `postgres://postgres@localhost:5432/${database}?host=${encodeURIComponent(sockets)}`;
  return {
    url,
    async start() {
      if (!existsSync(data)) createCluster({ folder, data, sockets, binaries, user });
      const options = ['-D', data, '-k', sockets, '-p', '5432', '-c', 'listen_addresses='];
      // A session of its own, so that Ctrl-C does not end it before the tests' own clean-up.
      running = spawn(join(binaries, 'postgres'), [...options, '-c', 'max_connections=200'], {
        ...user,
        env: { ...process.env, ...env },
        stdio: 'ignore',
        detached: true,
      });
      await becomesReady(url('postgres'));
    },
    async halt() {
      if (running === undefined || running.exitCode !== null) return;
      const exited = once(running, 'exit');
      running.kill('SIGINT');
      await exited;
    },
    abandon: () => quit(running?.exitCode === null ? running.pid : undefined),
  };
}

/** The pooler stays up while PostgreSQL is halted. */
function pooled(folder: string): Instance {
  const postgres = system(folder);
  let pooler: PgBouncer | undefined;
  return {
    url: (database) => pooler?.url(database) ?? assert.fail('PgBouncer was started'),
    directUrl: postgres.url,
    async start() {
      await postgres.start();
      pooler ??= startPgBouncer({ folder, sockets: join(folder, 'sockets'), user: postgresUser() });
      await becomesReady(pooler.url('postgres'));
    },
    halt: () => postgres.halt(),
    end: async () => pooler?.stop(),
    abandon() {
      pooler?.abandon();
      postgres.abandon();
    },
  };
}

type SystemUser = { uid: number; gid: number } | object;

function createCluster(place: {
  folder: string;
  data: string;
  sockets: string;
  binaries: string;
  user: SystemUser;
}): void {
  const { folder, data, sockets, binaries, user } = place;
  mkdirSync(sockets, { mode: 0o700 });
  if ('uid' in user && 'gid' in user) {
    for (const path of [folder, sockets]) chownSync(path, Number(user.uid), Number(user.gid));
  }
  const options = [
    '-D',
    data,
    '-A',
    'trust',
    '-U',
    'postgres',
    '--locale=C.UTF-8',
    '-E',
    'UTF8',
    '--no-sync',
  ];
  execFileSync(join(binaries, 'initdb'), options, { ...user, stdio: 'pipe', timeout: 60_000, cwd: '/' });
}

/** PostgreSQL refuses to run as root. */
function postgresUser(): SystemUser {
  if (process.getuid?.() !== 0) return {};
  const id = (flag: string) => Number(execFileSync('id', [flag, 'postgres'], { encoding: 'utf8' }));
  return { uid: id('-u'), gid: id('-g') };
}

/** The oldest that is supported, 15 or newer: the embedded one is a newer major. */
function systemBinaries(): string {
  const folder = '/usr/lib/postgresql';
  const majors = existsSync(folder) ? readdirSync(folder).map(Number) : [];
  const [major] = majors.filter((candidate) => candidate >= 15).sort((a, b) => a - b);
  assert.ok(major, `no PostgreSQL 15 or newer in ${folder}; install the package postgresql`);
  return join(folder, String(major), 'bin');
}

async function becomesReady(url: string): Promise<void> {
  const giveUpAt = performance.now() + 30_000;
  for (;;) {
    try {
      return await ask(url, 'select 1');
    } catch (error) {
      if (performance.now() > giveUpAt) throw error;
      await sleep(30);
    }
  }
}

function quit(pid: number | undefined): void {
  if (pid === undefined || pid === 0) return;
  try {
    process.kill(pid, 'SIGQUIT');
  } catch {
    // It is gone already.
  }
}
