// A pooler in transaction mode before PostgreSQL: found when the direct URL is missing or wrong, harmless when it is right.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { pino } from 'pino';
import { createDatabase, type Database, sqlState } from '../../src/db/database.ts';
import { checkSessions, SessionsShared } from '../../src/db/session-check.ts';
import { openStorage } from '../../src/main/storage.ts';
import { aJob, aNode } from '../support/builders.ts';
import { startTestPostgres } from '../support/postgres.ts';
import { eventually, startTestServer, type TestServer } from '../support/server.ts';

const postgres = await startTestPostgres({ kind: 'pgbouncer' });
const folder = mkdtempSync(join(tmpdir(), 'flotilla-pooler-'));
const open: Database[] = [];
const servers: TestServer[] = [];
after(async () => {
  for (const server of servers) await server.stop();
  for (const database of open) await database.close();
  await postgres.stop();
  rmSync(folder, { recursive: true, force: true });
});

async function twoWays(): Promise<{ url: string; direct: string }> {
  const url = await postgres.createDatabase();
  return { url, direct: postgres.directUrl(url) ?? assert.fail('there is a pooler') };
}

function connect(url: string, direct?: string): Database {
  const directConnection = direct === undefined ? {} : { directConnection: { url: direct } };
  const database = createDatabase({ connection: { url }, ...directConnection });
  open.push(database);
  return database;
}

function shared(sentence: RegExp) {
  return (error: Error) => {
    assert.ok(error instanceof SessionsShared, String(error));
    assert.match(error.message, sentence);
    return true;
  };
}

test('without the direct URL the server does not start and says what to set', async () => {
  const { url } = await twoWays();
  const options = { dataDirectory: join(folder, 'data'), tell: () => {}, log: pino({ level: 'silent' }) };
  const sentence = /connection pooler.*pool_mode=transaction.*Set DATABASE_DIRECT_URL/;
  await assert.rejects(openStorage({ ...options, databaseUrl: url }), shared(sentence));
  const databaseDirectUrl = postgres.directUrl(url);
  const storage = await openStorage({ ...options, databaseUrl: url, databaseDirectUrl });
  await storage.close();
});

test('a direct URL that leads elsewhere, or through the pooler too, is told apart', async () => {
  const { url } = await twoWays();
  const { direct: other } = await twoWays();
  for (const wrong of [other, url]) {
    const check = checkSessions(connect(url, wrong), { hasDirectConnection: true, patienceMs: 1_000 });
    await assert.rejects(check, shared(/does not arrive at DATABASE_DIRECT_URL/));
  }
});

test('PostgreSQL itself needs no second URL', async () => {
  const { direct } = await twoWays();
  await checkSessions(connect(direct), { hasDirectConnection: false, patienceMs: 1_000 });
});

const named = { name: 'one_and_one', text: 'select 1 + $1::integer as sum' };

/** Many at once, so that they meet many sessions. */
function askOften(database: Database): Promise<{ sum: number }[][]> {
  return Promise.all(Array.from({ length: 40 }, () => database.query<{ sum: number }>(named, [1])));
}

test('statements lose their names behind a pooler, and so need none', async () => {
  const { url, direct } = await twoWays();
  const wrong = connect(url);
  await assert.rejects(
    async () => {
      for (let round = 0; round < 5; round += 1) await askOften(wrong);
    },
    // invalid_sql_statement_name and duplicate_prepared_statement
    (error) => ['26000', '42P05'].includes(sqlState(error) ?? ''),
  );
  const right = connect(url, direct);
  for (let round = 0; round < 5; round += 1)
    for (const rows of await askOften(right)) assert.deepEqual(rows, [{ sum: 2 }]);
});

test('PostgreSQL away behind its pooler: 503, and all goes on when it is back', async () => {
  const server = await startTestServer({ postgres });
  servers.push(server);
  await aNode(server);
  const job = await server.admin.createJob(aJob());
  await eventually('placed', async () => (await server.admin.getJob(job.uuid)).status === 'ASSIGNED');
  await postgres.suspend();
  const askedAt = performance.now();
  const refusal = await server.admin.refusal('GET', `/v1/jobs/${job.uuid}`);
  assert.equal(refusal.status, 503, refusal.message);
  assert.ok(performance.now() - askedAt < 15_000, 'by the time the pooler gives up');
  await postgres.resume();
  await eventually('a create', async () => {
    const answer = await server.admin.send<{ uuid: string }>('POST', '/v1/jobs', { body: aJob() });
    if (answer.status !== 201) return false;
    return eventually('placed', async () => {
      return (await server.admin.getJob(answer.body.uuid)).status === 'ASSIGNED';
    });
  });
});
