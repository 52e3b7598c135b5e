// The embedded PostgreSQL after either process was killed, and what a crash may leave behind.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { findLivingProcess } from '../../src/embedded/process-table.ts';
import { eventually, launch, launchReady, query, type Ready, scratchFolder } from './fixture.ts';

async function insertUntilLost(ready: Ready): Promise<number> {
  let acknowledged = 0;
  try {
    for (;;) {
      await query(ready.connection, `insert into kept values (${acknowledged + 1})`);
      acknowledged += 1;
    }
  } catch {
    return acknowledged;
  }
}

async function countKept(ready: Ready): Promise<unknown> {
  const [row] = await query(
    ready.connection,
    'select count(*)::int as kept, coalesce(max(n), 0) as last from kept',
  );
  return row;
}

test('a living PostgreSQL is adopted after its starter was killed, and stopped by the next', async (t) => {
  const data = join(scratchFolder(t), 'data');
  const first = await launchReady(t, data);
  await query(first.ready.connection, 'create table kept (n int)');
  await first.starter.kill();
  await query(first.ready.connection, 'insert into kept values (1)');

  const second = await launchReady(t, data);
  assert.equal(second.ready.wasAdopted, true);
  assert.equal(second.ready.postgresPid, first.ready.postgresPid);
  assert.deepEqual(await countKept(second.ready), { kept: 1, last: 1 });
  await second.starter.stop();
  assert.equal(findLivingProcess(first.ready.postgresPid), undefined);
});

test('a killed PostgreSQL is started again while its starter runs, also an adopted one', async (t) => {
  const data = join(scratchFolder(t), 'data');
  const first = await launchReady(t, data);
  await query(first.ready.connection, 'create table kept (n int)');
  const restarts = async (ready: Ready) => {
    const inserted = insertUntilLost(ready);
    await eventually(
      'some rows are in',
      async () => Number((await query(ready.connection, 'select count(*) as n from kept'))[0]?.n) > 0,
    );
    process.kill(ready.postgresPid, 'SIGKILL');
    const acknowledged = await inserted;
    await eventually('it answers again', () =>
      query(ready.connection, 'select 1').then(
        () => true,
        () => false,
      ),
    );
    return acknowledged;
  };
  const acknowledged = await restarts(first.ready);
  const [{ kept } = { kept: 0 }] = await query(
    first.ready.connection,
    'select count(*)::int as kept from kept',
  );
  assert.ok(Number(kept) >= acknowledged, `${acknowledged} rows were acknowledged, ${kept} are there`);

  await first.starter.kill();
  await query(first.ready.connection, 'truncate kept');
  const second = await launchReady(t, data);
  assert.equal(second.ready.wasAdopted, true);
  const again = await restarts(second.ready);
  const [{ rows } = { rows: 0 }] = await query(
    second.ready.connection,
    'select count(*)::int as rows from kept',
  );
  assert.ok(Number(rows) >= again, `${again} rows were acknowledged, ${rows} are there`);
  await second.starter.stop();
});

test('both killed at once: the next start recovers every acknowledged row, zombie or not', async (t) => {
  const data = join(scratchFolder(t), 'data');
  const first = await launchReady(t, data);
  await query(first.ready.connection, 'create table kept (n int)');
  const inserted = insertUntilLost(first.ready);
  await eventually(
    'some rows are in',
    async () => Number((await query(first.ready.connection, 'select count(*) as n from kept'))[0]?.n) > 3,
  );
  first.starter.process.kill('SIGKILL');
  process.kill(first.ready.postgresPid, 'SIGKILL');
  const second = await launchReady(t, data);
  const acknowledged = await inserted;
  assert.equal(second.ready.wasAdopted, false);
  const [{ kept } = { kept: 0 }] = await query(
    second.ready.connection,
    'select count(*)::int as kept from kept',
  );
  assert.ok(
    acknowledged > 0 && Number(kept) >= acknowledged,
    `${acknowledged} rows were acknowledged, ${kept} are there`,
  );
  await second.starter.stop();
});

test('a pid file that names another program does not stop the start', async (t) => {
  const data = join(scratchFolder(t), 'data');
  const first = await launchReady(t, data);
  await query(first.ready.connection, 'create table kept (n int)');
  const pidFile = join(data, 'pg', String(first.ready.major), 'postmaster.pid');
  const lines = readFileSync(pidFile, 'utf8').split('\n');
  await first.starter.stop();
  const stranger = spawn('sleep', ['60'], { stdio: 'ignore' });
  t.after(() => stranger.kill());
  writeFileSync(pidFile, [String(stranger.pid), ...lines.slice(1)].join('\n'));

  const second = await launchReady(t, data);
  assert.equal(second.ready.wasAdopted, false);
  assert.deepEqual(await countKept(second.ready), { kept: 0, last: 0 });
  assert.notEqual(findLivingProcess(stranger.pid ?? 0), undefined, 'the stranger is left alone');
  await second.starter.stop();
});

test('an initdb that was killed in the middle is cleaned up and done again', async (t) => {
  const data = join(scratchFolder(t), 'data');
  const first = launch(t, data);
  const partial = () => readdirSync(join(data, 'pg')).filter((name) => name.startsWith('initdb-'));
  const hasBegun = () =>
    partial().some((name) => readdirSync(join(data, 'pg', name, 'cluster')).includes('PG_VERSION'));
  await eventually('initdb writes its first files', () => {
    try {
      return hasBegun();
    } catch {
      return false;
    }
  });
  await first.kill();
  assert.equal(partial().length, 1);

  const second = await launchReady(t, data);
  assert.deepEqual(partial(), []);
  assert.deepEqual(await query(second.ready.connection, 'select 1 as one'), [{ one: 1 }]);
  await second.starter.stop();
});

test('the short folder of a killed PostgreSQL goes with the next start of any, once its data is gone', async (t) => {
  const scratch = scratchFolder(t);
  const long = join(scratch, 'd'.repeat(150));
  const killed = await launchReady(t, long);
  const { host } = killed.ready.connection;
  assert.equal(host.startsWith(scratch), false, 'its socket is in a short folder');
  killed.starter.process.kill('SIGKILL');
  process.kill(killed.ready.postgresPid, 'SIGKILL');
  await eventually('it is dead', () => findLivingProcess(killed.ready.postgresPid) === undefined);

  const withData = await launchReady(t, join(scratch, 'other'));
  assert.equal(existsSync(host), true, 'its data may be started again');
  await withData.starter.stop();
  await eventually('its backends are gone', () => {
    try {
      rmSync(long, { recursive: true, force: true });
      return true;
    } catch {
      return false;
    }
  });
  const without = await launchReady(t, join(scratch, 'other'));
  assert.equal(existsSync(host), false);
  assert.deepEqual(
    readdirSync(dirname(dirname(host))).filter((name) => host.includes(name)),
    [],
  );
  await without.starter.stop();
});

test('a living PostgreSQL keeps its short folder, whatever becomes of its data', async (t) => {
  const scratch = scratchFolder(t);
  const long = join(scratch, 'e'.repeat(150));
  const living = await launchReady(t, long);
  const moved = join(scratch, 'moved');
  renameSync(long, moved);
  const other = await launchReady(t, join(scratch, 'other'));
  renameSync(moved, long);
  assert.deepEqual(await query(living.ready.connection, 'select 1 as one'), [{ one: 1 }]);
  await other.starter.stop();
  await living.starter.stop();
  assert.equal(existsSync(living.ready.connection.host), false);
});

test('of two starters at once, one runs and the other is told who holds the folder', async (t) => {
  const data = join(scratchFolder(t), 'data');
  const starters = [launch(t, data), launch(t, data)];
  const outcomes = await Promise.all(starters.map((starter) => starter.outcome));
  const failed = outcomes.find((outcome) => outcome.kind === 'failed');
  assert.deepEqual(outcomes.map((outcome) => outcome.kind).sort(), ['failed', 'ready']);
  assert.equal(failed?.name, 'DataDirectoryInUse');
  await Promise.all(starters.map((starter) => starter.stop()));
});
