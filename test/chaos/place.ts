// The place of a chaos run: PostgreSQL, servers, and nodes on machines of their own, each with an engine and an agent.
import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { appendFileSync, chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../src/embedded/postgres.ts';
import { type Client, createClient } from '../../src/sdk/client.ts';
import { plainEnvironment, runAtOnce, unmountBelow } from '../support/machine.ts';
import { Daemon, type DaemonOptions } from './daemon.ts';
import { makeBusyboxTree } from './engine.ts';
import { apiPort, type ChaosNode, startNode } from './node.ts';
import { until } from './until.ts';

export interface ChaosServer {
  host: string;
  daemon: Daemon;
  client: Client;
}

export interface Place {
  folder: string;
  postgres: { main: EmbeddedPostgres; dataFolder: string; pool: pg.Pool };
  servers: ChaosServer[];
  nodes: ChaosNode[];
  /** Processes that ended although nobody ended them. */
  surprises: string[];
  /** Ends every process; with `isKept` the folder stays, to be read. */
  remove(isKept: boolean): Promise<void>;
}

export const publicPorts = { from: 20_000, to: 20_099 };
/** Shorter than the longest cuts and pauses. */
const lostAfter = '18s';
const serverCount = 2;
const mainFile = join(import.meta.dirname, '../../src/main.ts');

/** Needs a network namespace of its own around it: its addresses and cables have fixed names. */
export async function createPlace(): Promise<Place> {
  const folder = mkdtempSync('/tmp/flotilla-chaos-');
  // PostgreSQL's user passes through; nothing in it is listed.
  chmodSync(folder, 0o711);
  const closers: (() => Promise<void> | void)[] = [];
  const remove = async (isKept: boolean) => {
    for (const close of closers.toReversed()) await close();
    unmountBelow(folder);
    if (!isKept) rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  };
  try {
    return { ...(await startAll(folder, closers)), folder, remove };
  } catch (error) {
    await remove(true);
    throw new Error(`The place did not come up; its logs are in ${folder}.`, { cause: error });
  }
}

async function startAll(folder: string, closers: (() => Promise<void> | void)[]) {
  const surprises: string[] = [];
  const onSurprise = (ending: string, lastWords: string) => {
    if (!isStartWithoutDatabase(lastWords)) surprises.push(`${ending}: ${lastWords.slice(0, 300)}`);
  };
  const postgres = await startPostgres(folder, closers);
  const masterKey = randomBytes(32).toString('hex');
  const hosts = Array.from({ length: serverCount }, (_, index) => `10.98.0.${index + 1}`);
  const daemons = hosts.map((host) =>
    startServer(host, { folder, masterKey, postgres, onSurprise, closers }),
  );
  const key = await firstKey(folder);
  const servers = daemons.map(({ host, daemon }) => ({ host, daemon, client: clientOf(host, key) }));
  closers.push(() => {
    for (const { client } of servers) client.close();
  });
  const holders: ChildProcess[] = [];
  closers.push(() => {
    for (const holder of holders) holder.kill('SIGKILL');
  });
  const image = await makeBusyboxTree(join(folder, 'busybox'));
  const [first] = servers;
  assert.ok(first);
  const nodes = await Promise.all(
    [true, false, true].map((hasLiveRestore, index) =>
      startNode({
        stopsWhenCutOff: index === 2,
        number: index + 1,
        hasLiveRestore,
        folder: join(folder, `node-${index + 1}`),
        image,
        serverHosts: hosts,
        client: first.client,
        mainFile,
        onSurprise,
        keepHolder: (holder) => holders.push(holder),
        closers,
      }),
    ),
  );
  await until('every node to be ready', async () => {
    const { data } = await first.client.nodes.list();
    return data.filter(({ status }) => status === 'ready').length === nodes.length;
  });
  return { postgres, servers, nodes, surprises };
}

/** A server that finds no database for seconds does not start, and says so; whoever keeps it starts it again. */
function isStartWithoutDatabase(lastWords: string): boolean {
  return /^flotilla: The database (cannot be reached|connection was lost)/.test(lastWords);
}

async function startPostgres(folder: string, closers: (() => Promise<void> | void)[]) {
  const dataDirectory = join(folder, 'database');
  const log = (line: string) => appendFileSync(join(folder, 'postgres.log'), `${line}\n`);
  const main = await startEmbeddedPostgres({ dataDirectory, log });
  closers.push(() => main.stop());
  const pool = new pg.Pool({
    ...main.connection,
    max: 4,
    application_name: 'chaos',
    connectionTimeoutMillis: 3_000,
    query_timeout: 20_000,
  });
  pool.on('error', () => {});
  pool.on('connect', (client) => client.on('error', () => {}));
  closers.push(() => pool.end());
  return { main, dataFolder: join(dataDirectory, 'pg', String(main.major)), pool };
}

function startServer(
  host: string,
  at: {
    folder: string;
    masterKey: string;
    postgres: Place['postgres'];
    onSurprise: DaemonOptions['onSurprise'];
    closers: (() => Promise<void> | void)[];
  },
): { host: string; daemon: Daemon } {
  const name = `server-${host.split('.').at(-1)}`;
  runAtOnce(['ip', 'address', 'add', `${host}/32`, 'dev', 'lo']);
  const folder = join(at.folder, name);
  mkdirSync(folder);
  const { host: sockets, user, password, database } = at.postgres.main.connection;
  const url = `postgres://${user}:${encodeURIComponent(password)}@localhost:5432/${database}?host=${encodeURIComponent(sockets)}`;
  const listen = [
    '--host',
    host,
    '--port',
    String(apiPort),
    '--insecure-http',
    '--node-lost-after',
    lostAfter,
    '--gateway-ports',
    `${publicPorts.from}-${publicPorts.to}`,
  ];
  const daemon = new Daemon({
    name,
    logFile: join(folder, 'server.log'),
    command: [process.execPath, mainFile, 'server', '--data-dir', join(folder, 'data'), ...listen],
    env: { ...plainEnvironment(), DATABASE_URL: url, FLOTILLA_MASTER_KEY: at.masterKey },
    onSurprise: at.onSurprise,
  });
  daemon.start();
  at.closers.push(() => daemon.stop());
  return { host, daemon };
}

interface Key {
  public_key: string;
  secret_key: string;
}

async function firstKey(folder: string): Promise<Key> {
  const file = join(folder, 'server-1', 'data', 'admin-key.json');
  return until('the admin key', async () =>
    existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Key) : null,
  );
}

/** Impatient: a server that hangs is given up, and the other one asked. */
function clientOf(host: string, key: Key): Client {
  return createClient({
    url: `http://${host}:${apiPort}`,
    publicKey: key.public_key,
    secretKey: key.secret_key,
    timeoutMs: 10_000,
  });
}

/** The server that plans now, by the database's word; null while nobody does. */
export async function leaderOf({ postgres, servers }: Place): Promise<ChaosServer | null> {
  const { rows } = await postgres.pool.query<{ holder: string }>(
    "select holder from leaderships where name = 'scheduler' and expires_at > flotilla_now()",
  );
  const [leader] = rows;
  if (leader === undefined) return null;
  return servers.find(({ daemon }) => replicaOf(daemon.logFile) === leader.holder) ?? null;
}

/** As it said when it started to listen, the last time. */
function replicaOf(logFile: string): string | undefined {
  const named = readFileSync(logFile, 'utf8').matchAll(/"replica":"([0-9a-f-]{36})"/g);
  return [...named].at(-1)?.[1];
}
