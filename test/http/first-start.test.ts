// Replicas that start on an empty database at the same moment: each gets up, and they agree on what they made.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { pino } from 'pino';
import { shipOfficialRecipes } from '../../src/api/official-recipes.ts';
import { openStorage } from '../../src/main/storage.ts';
import { sharedPostgres } from '../support/server.ts';

const replicaCount = 6;

test('replicas that start together on an empty database share one cluster, one account and the official recipes', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'flotilla-first-start-'));
  process.env.FLOTILLA_MASTER_KEY = '11'.repeat(32);
  try {
    const databaseUrl = await (await sharedPostgres()).createDatabase();
    const open = (name: string) =>
      openStorage({
        dataDirectory: join(folder, name),
        databaseUrl,
        tell: () => {},
        log: pino({ level: 'silent' }),
      });
    const names = Array.from({ length: replicaCount }, (_, index) => `replica-${index}`);
    const started = await Promise.allSettled(names.map(open));
    const storages = started.flatMap((it) => (it.status === 'fulfilled' ? [it.value] : []));
    const shipped = await Promise.allSettled(
      storages.map(({ database, vault }) => shipOfficialRecipes(database, vault)),
    );
    const accounts = new Set(storages.map(({ account }) => account.id));
    const clusters = new Set(storages.map(({ cluster }) => cluster.id));
    const count = await storages[0]?.database.query<{ count: number }>(
      'select count(*) as count from accounts',
    );
    for (const storage of storages) await storage.close();
    assert.deepEqual(
      [...started, ...shipped].flatMap((it) => (it.status === 'rejected' ? [String(it.reason)] : [])),
      [],
    );
    assert.deepEqual([accounts.size, clusters.size, count?.[0]?.count], [1, 1, 1]);
  } finally {
    delete process.env.FLOTILLA_MASTER_KEY;
    rmSync(folder, { recursive: true, force: true });
  }
});
