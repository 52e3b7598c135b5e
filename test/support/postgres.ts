// A PostgreSQL of the test's own: the embedded one, or the system's 15 or newer; one per process, many databases in it.
import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { startEmbeddedPostgres } from '../../src/embedded/postgres.ts';

export interface TestPostgres {
  /** Creates an empty database and gives its URL. */
  createDatabase(): Promise<string>;
  /** Cuts every connection and comes back only with `resume`. */
  suspend(): Promise<void>;
  resume(): Promise<void>;
  stop(): Promise<void>;
}

/** What both kinds of PostgreSQL give; `url` names a database. */
interface Instance {
  url(database: string): string;
  start(): Promise<void>;
  halt(): Promise<void>;
  /** At once and without waiting: this process ends. */
  abandon(): void;
}

/** FLOTILLA_TEST_POSTGRES chooses: `embedded` (default) or `system`; with `env` for its processes it is the system's. */
export async function startTestPostgres({ env }: { env?: NodeJS.ProcessEnv } = {}): Promise<TestPostgres> {
  const kind = env === undefined ? (process.env.FLOTILLA_TEST_POSTGRES ?? 'embedded') : 'system';
  assert.ok(
    kind === 'embedded' || kind === 'system',
    `FLOTILLA_TEST_POSTGRES is embedded or system, not ${kind}`,
  );
  const folder = mkdtempSync('/tmp/flotilla-pg-');
  const instance = kind === 'embedded' ? embedded(folder) : system(folder, env);
  const abandon = () => {
    instance.abandon();
    rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
  };
  process.once('exit', abandon);
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => process.exit(1));
  await instance.start();
  let created = 0;
  return {
    async createDatabase() {
      created += 1;
      const name = `test_${created}`;
      await ask(instance.url('postgres'), `create database ${name}`);
      return instance.url(name);
    },
    suspend: () => instance.halt(),
    resume: () => instance.start(),
    async stop() {
      await instance.halt();
      process.off('exit', abandon);
      rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 });
    },
  };
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
