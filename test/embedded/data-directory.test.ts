// The exclusive hold on a data directory.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import {
  DataDirectoryInUse,
  defaultDataDirectory,
  openDataDirectory,
} from '../../src/embedded/data-directory.ts';
import { cloneFolder, isRoot, scratchFolder } from './fixture.ts';

async function launchHolder(t: TestContext, data: string) {
  const module = join(cloneFolder, 'src/embedded/data-directory.ts');
  const program = `const { openDataDirectory } = await import(${JSON.stringify(module)});
    await openDataDirectory(${JSON.stringify(data)}); console.log('held'); setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.after(() => child.kill('SIGKILL'));
  await once(child.stdout, 'data');
  return child;
}

test('it is created for its owner alone, and a second hold says who has the first', async (t) => {
  const data = join(scratchFolder(t), 'deep', 'data');
  const held = await openDataDirectory(data);
  assert.equal(statSync(data).mode & 0o777, 0o700);
  await assert.rejects(openDataDirectory(data), (error) => {
    assert.ok(error instanceof DataDirectoryInUse);
    assert.equal(error.holderPid, process.pid);
    assert.match(
      error.message,
      /in use by process \d+ .*since \d{4}-\d\d-\d\dT.*stop it with "kill \d+" or choose another/,
    );
    return true;
  });
  await held.release();
  const again = await openDataDirectory(data);
  await again.release();
});

test('a killed holder holds nothing, not even while it is a zombie', async (t) => {
  const data = join(scratchFolder(t), 'data');
  const holder = await launchHolder(t, data);
  await assert.rejects(openDataDirectory(data), { name: 'DataDirectoryInUse', holderPid: holder.pid });
  holder.kill('SIGKILL');
  // Until the event loop turns, nobody has waited for the child: its zombie is still in the process table.
  let state = '';
  while (state !== 'Z') state = readFileSync(`/proc/${holder.pid}/stat`, 'utf8').split(') ')[1]?.[0] ?? '';
  const held = await openDataDirectory(data);
  await held.release();
});

test('a file that names a living process but is held by nobody is stale', async (t) => {
  const data = scratchFolder(t);
  const since = new Date(0).toISOString();
  writeFileSync(
    join(data, 'holder.lock'),
    JSON.stringify({ pid: 1, start_mark: '1', since, command: 'another' }),
  );
  const held = await openDataDirectory(data);
  await held.release();
});

test('a path that cannot be a folder is one sentence', async (t) => {
  const file = join(scratchFolder(t), 'file');
  writeFileSync(file, '');
  await assert.rejects(openDataDirectory(file), /Cannot use .*\/file as data directory: .*--data-dir/);
});

test('the default is by user', () => {
  assert.match(defaultDataDirectory(), isRoot ? /^\/var\/lib\/flotilla$/ : /\/\.flotilla$/);
});
