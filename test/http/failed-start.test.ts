// A server that cannot start leaves nothing behind that would keep its process alive.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { pino } from 'pino';
import { DatabaseUnavailable } from '../../src/db/database.ts';
import { startControlPlane } from '../../src/main/control-plane.ts';
import { openStorage } from '../../src/main/storage.ts';
import { eventually, sharedPostgres } from '../support/server.ts';

const timerCount = () => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;

test('a database that goes away while a server starts ends the start whole', async () => {
  const dataDirectory = mkdtempSync(join(tmpdir(), 'flotilla-failed-start-'));
  const log = pino({ level: 'silent' });
  const databaseUrl = await (await sharedPostgres()).createDatabase();
  const options = { databaseUrl, databaseDirectUrl: null, tell: () => {}, log };
  const storage = await openStorage({ ...options, dataDirectory: join(dataDirectory, 'data') });
  try {
    const before = timerCount();
    const away = async () => Promise.reject(new DatabaseUnavailable('The database connection was lost.'));
    const database = { ...storage.database, query: away, dedicatedClient: away };
    const network = { host: '127.0.0.1', port: 0, tls: null, isInsecureHttpAllowed: false };
    const start = startControlPlane({
      ...network,
      storage: { ...storage, database },
      trustedProxies: [],
      log,
      version: 'test',
    });
    await assert.rejects(start, DatabaseUnavailable);
    await eventually('every timer to be cancelled', async () => timerCount() <= before, 5_000);
  } finally {
    await storage.close();
    rmSync(dataDirectory, { recursive: true, force: true });
  }
});
