// The database beneath: migrations, their lock and freeze, the master key's canary, and PostgreSQL going away under requests.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import { WrongMasterKey } from '../../src/db/cluster.ts';
import { createDatabase, type Database, DatabaseUnavailable } from '../../src/db/database.ts';
import { MigrationMismatch, migrate, readMigrations } from '../../src/db/migrate.ts';
import { createVault, nonceBytes, SealBroken } from '../../src/db/vault.ts';
import { createRandomPool } from '../../src/main/random-pool.ts';
import { openStorage } from '../../src/main/storage.ts';
import { aJob, aNode } from '../support/builders.ts';
import { place, report, running } from '../support/runs.ts';
import { eventually, sharedPostgres, startTestServer } from '../support/server.ts';

const postgres = await sharedPostgres();
const open: Database[] = [];
const folder = mkdtempSync(join(tmpdir(), 'flotilla-database-'));
after(async () => {
  for (const database of open) await database.close().catch(() => {});
  rmSync(folder, { recursive: true, force: true });
});

async function aDatabase(): Promise<{ url: string; database: Database }> {
  const url = await postgres.createDatabase();
  return { url, database: connectTo(url) };
}

function connectTo(url: string, options: { patienceMs?: number; poolSize?: number } = {}): Database {
  const database = createDatabase({ connection: { url }, ...options });
  open.push(database);
  return database;
}

/** Tables, columns, indexes, constraints and functions, as text. */
async function schemaOf(database: Database): Promise<string> {
  const rows = await database.query<{ line: string }>(
    `select format('%s.%s %s %s %s', table_name, column_name, data_type, is_nullable, column_default) as line
       from information_schema.columns where table_schema = 'public'
     union all select indexdef from pg_indexes where schemaname = 'public'
     union all select conrelid::regclass || ' ' || pg_get_constraintdef(oid) from pg_constraint
       where connamespace = 'public'::regnamespace
     union all select pg_get_functiondef(oid) from pg_proc where pronamespace = 'public'::regnamespace
     order by 1`,
  );
  return rows.map((row) => row.line).join('\n');
}

test('migrations make the schema once; a second round changes nothing', async () => {
  const { url, database } = await aDatabase();
  const names = (await readMigrations()).map((migration) => migration.name);
  assert.ok(names.length > 0);
  assert.deepEqual(await migrate(database), names);
  const schema = await schemaOf(database);
  assert.match(schema, /jobs\.status/);
  assert.deepEqual(await migrate(database), []);
  assert.deepEqual(await migrate(connectTo(url)), []);
  assert.equal(await schemaOf(database), schema);
  const other = await aDatabase();
  await migrate(other.database);
  assert.equal(await schemaOf(other.database), schema, 'a replay gives the same schema');
});

test('replicas that start together take turns', async () => {
  const { url } = await aDatabase();
  const applied = await Promise.all([1, 2, 3, 4].map(() => migrate(connectTo(url))));
  const names = (await readMigrations()).map((migration) => migration.name);
  assert.deepEqual(applied.flat(), names, 'one of them applied them all');
});

test('a changed migration and a newer database are refused with a sentence', async () => {
  const { database } = await aDatabase();
  const [first] = await migrate(database);
  await database.query("update schema_migrations set sha256 = 'x' where name = $1", [first]);
  await assert.rejects(migrate(database), (error: Error) => {
    assert.ok(error instanceof MigrationMismatch);
    assert.match(error.message, new RegExp(`${first} was changed`));
    return true;
  });
  const newer = await aDatabase();
  await migrate(newer.database);
  await newer.database.query("insert into schema_migrations (name, sha256) values ('9999_future.sql', 'x')");
  await assert.rejects(migrate(newer.database), (error: Error) => {
    assert.ok(error instanceof MigrationMismatch);
    assert.match(error.message, /9999_future\.sql.*newer version/);
    return true;
  });
});

test('another master key is refused at start, and the database is let go', async () => {
  const { url } = await aDatabase();
  const log = pino({ level: 'silent' });
  const options = { databaseUrl: url, tell: () => {}, log };
  const first = await openStorage({ ...options, dataDirectory: join(folder, 'first') });
  await first.close();
  const again = await openStorage({ ...options, dataDirectory: join(folder, 'first') });
  assert.deepEqual([again.cluster, again.account], [first.cluster, first.account]);
  await again.close();
  const stranger = openStorage({ ...options, dataDirectory: join(folder, 'second') });
  await assert.rejects(stranger, (error: Error) => {
    assert.ok(error instanceof WrongMasterKey);
    assert.match(error.message, /master key/);
    return true;
  });
  const third = await openStorage({ ...options, dataDirectory: join(folder, 'first') });
  await third.close();
});

test('a sealed secret opens for its owner, with its key, unchanged, and not else', () => {
  const vault = createVault({ id: '00000000', key: Buffer.alloc(32, 1) }, createRandomPool(nonceBytes));
  const sealed = vault.seal('hidden', 'account/a/job/b');
  assert.equal(vault.open(sealed, 'account/a/job/b'), 'hidden');
  assert.ok(!sealed.includes('hidden'));
  assert.throws(() => vault.open(sealed, 'account/a/job/c'), SealBroken);
  for (let index = 0; index < sealed.length; index += 1) {
    const changed = Buffer.from(sealed);
    changed.writeUInt8(changed.readUInt8(index) ^ 1, index);
    assert.throws(() => vault.open(changed, 'account/a/job/b'), SealBroken, `byte ${index}`);
  }
  for (const id of ['00000000', '00000001']) {
    const other = createVault({ id, key: Buffer.alloc(32, 2) }, createRandomPool(nonceBytes));
    assert.throws(() => other.open(sealed, 'account/a/job/b'), SealBroken);
  }
});

test('a transaction that meets a deadlock is tried again', async () => {
  const { database } = await aDatabase();
  await database.query('create table pairs (id integer primary key, value integer)');
  await database.query('insert into pairs values (1, 0), (2, 0)');
  const inOrder = (first: number, second: number) =>
    database.transaction(async (sql) => {
      await sql.query('update pairs set value = value + 1 where id = $1', [first]);
      await sleep(100);
      await sql.query('update pairs set value = value + 1 where id = $1', [second]);
    });
  await Promise.all([inOrder(1, 2), inOrder(2, 1)]);
  assert.deepEqual(await database.query('select value from pairs order by id'), [{ value: 2 }, { value: 2 }]);
});

test('a single statement that meets a deadlock is tried again', async () => {
  const { database } = await aDatabase();
  await database.query('create table counters (id integer primary key, value integer)');
  await database.query('insert into counters values (1, 0), (2, 0)');
  await database.query(`create function add_both(first integer, second integer) returns void language plpgsql as $$
    begin
      update counters set value = value + 1 where id = first;
      perform pg_sleep(0.3);
      update counters set value = value + 1 where id = second;
    end $$`);
  await Promise.all(['1, 2', '2, 1'].map((order) => database.query(`select add_both(${order})`)));
  assert.deepEqual(await database.query('select value from counters'), [{ value: 2 }, { value: 2 }]);
});

test('a pool without a free connection gives up after its patience', async () => {
  const { url } = await aDatabase();
  const database = connectTo(url, { poolSize: 1, patienceMs: 500 });
  const held = database.query('select pg_sleep(3.5)');
  await sleep(50);
  await assert.rejects(database.query('select 1'), DatabaseUnavailable);
  await held;
  assert.deepEqual(await database.query('select 1 as one'), [{ one: 1 }]);
});

test('PostgreSQL goes away under requests: 503 within seconds, and all goes on when it is back', async () => {
  const server = await startTestServer({ hasScheduler: false });
  const { admin } = server;
  const node = await aNode(server);
  const job = await admin.createJob(aJob());
  const run = await place(server, job.uuid, node.id);
  let isBusy = true;
  const answered: { status: number; tookMs: number; code: string | undefined }[] = [];
  const keepAsking = async (method: string, path: string, options = {}) => {
    while (isBusy) {
      const startedAt = performance.now();
      const { status, body } = await admin.send<{ error?: { code: string } }>(method, path, options);
      answered.push({ status, tookMs: performance.now() - startedAt, code: body.error?.code });
      await sleep(5);
    }
  };
  const clients = [
    ...Array.from({ length: 4 }, () => keepAsking('POST', '/v1/jobs', { body: aJob() })),
    ...Array.from({ length: 4 }, () => keepAsking('GET', `/v1/jobs/${job.uuid}`)),
    ...Array.from({ length: 2 }, () => keepAsking('POST', '/v1/api-keys', { body: {} })),
    keepAsking('GET', '/v1/job-runs'),
  ];
  await sleep(300);
  await postgres.suspend();
  await sleep(100);
  isBusy = false;
  const [health, stop] = await Promise.all([
    fetch(`${server.url}/healthz`),
    admin.refusal('PUT', `/v1/jobs/${job.uuid}/cancel`),
    assert.rejects(report(server, run, running), DatabaseUnavailable),
  ]);
  assert.equal(health.status, 503);
  assert.deepEqual([stop.status, stop.code, stop.headers['retry-after']], [503, 'unavailable', '1']);
  await Promise.all(clients);
  const statuses = new Set(answered.map((answer) => answer.status));
  assert.deepEqual([...statuses].sort(), [200, 201, 503]);
  const away = answered.filter((answer) => answer.status === 503);
  assert.ok(away.every((answer) => answer.code === 'unavailable'));
  const slowest = Math.max(...away.map((answer) => answer.tookMs));
  assert.ok(slowest > 4_000 && slowest < 9_000, `the slowest refusal took ${slowest} ms`);

  const waiting = admin.getJob(job.uuid);
  await postgres.resume();
  assert.equal((await waiting).status, 'ASSIGNED', 'a request waits for the database for a while');
  assert.equal((await admin.stopJob(job.uuid)).status, 'CANCELLED', 'safe to repeat');
  await eventually('health', async () => (await fetch(`${server.url}/healthz`)).status === 200);
  const second = await server.createKey();
  await server.client(second).listJobs();
  await admin.ask('DELETE', `/v1/api-keys/${second.id}`);
  assert.equal((await server.client(second).refusal('GET', '/v1/jobs')).code, 'key_expired');
});

test('the scheduler places again after PostgreSQL was away', async () => {
  const server = await startTestServer();
  await aNode(server);
  const before = await server.admin.createJob(aJob());
  await eventually('placed', async () => (await server.admin.getJob(before.uuid)).status === 'ASSIGNED');
  await postgres.suspend();
  await postgres.resume();
  const after = await eventually('a create', async () => {
    const answer = await server.admin.send<{ uuid: string }>('POST', '/v1/jobs', { body: aJob() });
    return answer.status === 201 && answer.body;
  });
  await eventually('placed', async () => (await server.admin.getJob(after.uuid)).status === 'ASSIGNED');
});

test('a connection that listens is waited for as every other while PostgreSQL is away', async () => {
  const { database } = await aDatabase();
  await postgres.suspend();
  const waited = database.dedicatedClient();
  await sleep(300);
  await postgres.resume();
  const client = await waited;
  await client.query('listen anything');
  await client.end();
  const impatient = connectTo('postgres://nobody@localhost:1/none', { patienceMs: 100 });
  await assert.rejects(impatient.dedicatedClient(), DatabaseUnavailable);
});

test('a server that starts before its database waits for it, and gives up at once when it is told to end', async () => {
  const late = new URL((await aDatabase()).url);
  const sockets = late.searchParams.get('host') ?? late.hostname;
  const laterSockets = join(folder, 'sockets');
  late.searchParams.set('host', laterSockets);
  const told: string[] = [];
  const options = {
    databaseUrl: late.href,
    dataDirectory: join(folder, 'late'),
    tell: (line: string) => told.push(line),
    log: pino({ level: 'silent' }),
  };
  const opening = openStorage(options);
  while (!told.some((line) => line.includes('Trying again'))) await sleep(20);
  symlinkSync(sockets, laterSockets);
  await (await opening).close();
  rmSync(laterSockets);
  assert.match(told[0] ?? '', /^The database cannot be reached: connect ENOENT/);

  const end = new AbortController();
  const ended = openStorage({ ...options, signal: end.signal });
  end.abort();
  await assert.rejects(ended, DatabaseUnavailable);
});
