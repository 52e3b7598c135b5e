// A real server in this process: storage on a database of its own, one control plane or several, and signing clients.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { type Logger, pino } from 'pino';
import { newKeyPair, presetPermissions } from '../../src/api/key-presets.ts';
import { createApiKey, type NewApiKey } from '../../src/db/api-keys.ts';
import { claimLeadership, type Leadership } from '../../src/db/leadership.ts';
import {
  type ControlPlane,
  type ControlPlaneOptions,
  startControlPlane,
} from '../../src/main/control-plane.ts';
import { newId, newToken } from '../../src/main/ids.ts';
import { openStorage, type Storage } from '../../src/main/storage.ts';
import { permissions } from '../../src/protocol/api-key.ts';
import { Client, type KeyPair } from './client.ts';
import { createResponseCheck } from './openapi-check.ts';
import { startTestPostgres, type TestPostgres } from './postgres.ts';

export interface TestServer {
  url: string;
  storage: Storage;
  database: Storage['database'];
  postgres: TestPostgres;
  /** A client with every permission. */
  admin: Client;
  adminKey: KeyPair & { id: string };
  /** Lines of the program's own log of level warn and above. */
  logLines: string[];
  /** Where the test holds the scheduler's leadership itself (`hasScheduler: false`). */
  leadership: Leadership | null;
  /** Of this server, or of the replica at `url`. */
  client(key: KeyPair, url?: string): Client;
  /** A key made past the API, of this account or of `accountId`. */
  createKey(options?: Partial<NewApiKey>): Promise<KeyPair & { id: string }>;
  createAccount(name: string): Promise<string>;
  /** One more replica on the same database. */
  startReplica(options?: Partial<ControlPlaneOptions>): Promise<ControlPlane>;
  /** Every replica; the database stays. */
  stopReplicas(): Promise<void>;
  stop(): Promise<void>;
}

export type TestServerOptions = Partial<ControlPlaneOptions> & {
  /** false: the test leads, so that nothing is placed unless the test does. */
  hasScheduler?: boolean;
  /** Another than this process's, ended by who made it. */
  postgres?: TestPostgres;
};

let shared: Promise<TestPostgres> | undefined;
/** Servers end before their PostgreSQL does. */
const stops: (() => Promise<void>)[] = [];

/** The PostgreSQL of this test process, stopped after its last test. */
export function sharedPostgres(): Promise<TestPostgres> {
  if (shared === undefined) {
    shared = startTestPostgres();
    after(async () => {
      for (const stop of stops) await stop();
      await (await shared)?.stop();
    });
  }
  return shared;
}

/** Started for the whole file and stopped after its last test. */
export async function startTestServer(options: TestServerOptions = {}): Promise<TestServer> {
  const { hasScheduler = true, postgres = await sharedPostgres(), ...settings } = options;
  const dataDirectory = mkdtempSync(join(tmpdir(), 'flotilla-http-'));
  const logLines: string[] = [];
  const log = pino({ level: 'warn', base: null }, { write: (line) => void logLines.push(line) });
  const databaseUrl = await postgres.createDatabase();
  const databaseDirectUrl = postgres.directUrl(databaseUrl);
  const storage = await openStorage({ dataDirectory, databaseUrl, databaseDirectUrl, tell: () => {}, log });
  const leadership = hasScheduler ? null : await leadForever(storage);
  const replicas = new Set<ControlPlane>();
  const startReplica = async (own: Partial<ControlPlaneOptions> = {}) => {
    const plane = await startControlPlane({ ...planeDefaults(storage, log), ...settings, ...own });
    replicas.add(plane);
    return plane;
  };
  const { url } = await startReplica();
  const check = await createResponseCheck(url);
  const createKey = (key: Partial<NewApiKey> = {}) => makeKey(storage, key);
  const adminKey = await createKey({ preset: 'admin', permissions });
  const client = (key: KeyPair, at = url) => new Client({ url: at, key, check });
  let stopping: Promise<void> | undefined;
  const stopReplicas = async () => {
    for (const plane of replicas) await plane.stop();
    replicas.clear();
  };
  const stop = () => {
    stopping ??= (async () => {
      await stopReplicas();
      await storage.close();
      rmSync(dataDirectory, { recursive: true, force: true });
    })();
    return stopping;
  };
  stops.push(stop);
  return {
    ...{
      url,
      storage,
      database: storage.database,
      postgres,
      logLines,
      leadership,
      adminKey,
      createKey,
      client,
    },
    ...{ admin: client(adminKey), startReplica, stopReplicas, stop },
    createAccount: (name) => createAccount(storage, name),
  };
}

function planeDefaults(storage: Storage, log: Logger): ControlPlaneOptions {
  const network = { host: '127.0.0.1', port: 0, tls: null, isInsecureHttpAllowed: false, trustedProxies: [] };
  return { storage, log, version: 'test', ...network };
}

async function makeKey(storage: Storage, key: Partial<NewApiKey>): Promise<KeyPair & { id: string }> {
  const { publicKey, secret } = newKeyPair(newToken);
  const preset = key.preset ?? 'consumer';
  const { id } = await createApiKey(storage.database, storage.vault, {
    ...{ id: newId(), accountId: storage.account.id, name: 'test', preset, publicKey, secret },
    ...{ permissions: presetPermissions[preset], nodeId: null, allowedIps: [], expiresAtMs: null },
    ...key,
  });
  return { id, publicKey, secretKey: secret };
}

async function createAccount({ database }: Storage, name: string): Promise<string> {
  const id = newId();
  await database.query('insert into accounts (id, name) values ($1, $2)', [id, name]);
  return id;
}

async function leadForever({ database }: Storage): Promise<Leadership> {
  const claim = { name: 'scheduler', holder: newId(), leaseMs: 10 * 365 * 86_400_000 };
  const leadership = await claimLeadership(database, claim);
  assert.ok(leadership, 'nobody else leads yet');
  // Room for a test that sets the clock back: a lease that seems to last longer than leases do is nobody's.
  await database.query("update leaderships set expires_at = expires_at - interval '30 days'");
  return leadership;
}

/** Moves the database's clock, the one of leases, deadlines and leadership, by `offsetMs` from the real time. */
export async function setSqlClock({ database }: { database: Storage['database'] }, offsetMs: number) {
  await database.query(`create or replace function flotilla_now() returns timestamptz
    language sql stable parallel safe as
    $$select statement_timestamp() + interval '${offsetMs} milliseconds'$$`);
}

/** Asks again until it holds; for what the server does in its own time. */
export async function eventually<T>(
  what: string,
  look: () => Promise<T | undefined | null | false>,
  limitMs = 15_000,
): Promise<T> {
  const deadline = performance.now() + limitMs;
  for (;;) {
    const found = await look();
    if (found !== undefined && found !== null && found !== false) return found;
    assert.ok(performance.now() < deadline, `not within ${limitMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
