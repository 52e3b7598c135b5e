// The package that `npm pack` makes, used from a folder that has nothing else: import, types and the command, offline.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import * as sdk from '../../src/sdk/sdk.ts';
import { startTestServer } from '../support/server.ts';

const root = resolve(import.meta.dirname, '../..');
const place = mkdtempSync(join(tmpdir(), 'flotilla-package-'));
after(() => rmSync(place, { recursive: true, force: true }));
const clone = join(place, 'clone');
const fresh = join(place, 'fresh');
const installed = join(fresh, 'node_modules', 'flotilla');
const server = await startTestServer({ hasScheduler: false });
const env = {
  ...process.env,
  FLOTILLA_URL: server.url,
  FLOTILLA_PUBLIC_KEY: server.adminKey.publicKey,
  FLOTILLA_SECRET_KEY: server.adminKey.secretKey,
};

/** What it writes; rejects with what it wrote when it fails. */
async function run(file: string, args: string[], cwd = fresh): Promise<string> {
  const options = { cwd, env, timeout: 180_000, encoding: 'utf8' } as const;
  const { stdout } = await promisify(execFile)(file, args, options).catch((error) => {
    throw new Error(`${file} ${args.join(' ')}: ${error.stdout}${error.stderr}`, { cause: error });
  });
  return stdout;
}

/** As `npm install` would put it there. */
function link(dependency: string): void {
  const target = join(fresh, 'node_modules', dependency);
  mkdirSync(dirname(target), { recursive: true });
  symlinkSync(join(root, 'node_modules', dependency), target);
}

before(async () => {
  // Packed from a copy, since packing writes dist.
  const files = [
    'package.json',
    'README.md',
    'LICENSE',
    'CHANGELOG.md',
    'tsconfig.json',
    'tsconfig.build.json',
  ];
  for (const file of [...files, 'src', 'scripts'])
    cpSync(join(root, file), join(clone, file), { recursive: true });
  symlinkSync(join(root, 'node_modules'), join(clone, 'node_modules'));
  await run('npm', ['pack', '--offline', '--ignore-scripts=false', '--pack-destination', place], clone);
  mkdirSync(installed, { recursive: true });
  const [tarball = assert.fail('npm pack makes a file')] = readdirSync(place).filter((it) =>
    it.endsWith('.tgz'),
  );
  await run('tar', ['-xzf', join(place, tarball), '-C', installed, '--strip-components=1']);
  writeFileSync(join(fresh, 'package.json'), '{ "private": true, "type": "module" }');
  for (const dependency of ['ws', 'typebox']) link(dependency);
});

test('it holds what runs, and no sources, tests or leftovers', () => {
  const all = readdirSync(installed, { recursive: true, encoding: 'utf8' });
  assert.deepEqual(readdirSync(installed).sort(), [
    ...['CHANGELOG.md', 'LICENSE', 'README.md', 'dist', 'package.json', 'scripts'],
  ]);
  assert.deepEqual(readdirSync(join(installed, 'scripts')), ['flotilla.mjs']);
  assert.deepEqual(
    all.filter((path) => /(?<!\.d)\.ts$|\.test\.|tsbuildinfo/.test(path)),
    [],
  );
  const migrations = readdirSync(join(root, 'src/db/migrations'));
  assert.deepEqual(readdirSync(join(installed, 'dist/db/migrations')), migrations);
});

test('the SDK runs with two packages beside it, and gives what the sources give', async () => {
  const program = `
    import * as sdk from 'flotilla/sdk';
    const client = sdk.clientFromEnvironment();
    const parameters = { type: 'docker', parameters: { image: 'busybox' } };
    const made = await client.jobs.create({ title: 'from a package', task: 'PERSISTENT', parameters });
    await client.jobs.cancel(made.uuid, { reason: 'seen' });
    const { status, title } = await client.jobs.wait(made.uuid);
    console.log(JSON.stringify({ names: Object.keys(sdk), status, title }));
    client.close();`;
  writeFileSync(join(fresh, 'program.js'), program);
  const said = JSON.parse(await run(process.execPath, ['program.js']));
  assert.deepEqual(said, { names: Object.keys(sdk), status: 'CANCELLED', title: 'from a package' });
});

test('its types hold a strict program to the schemas, and take the one of the document', async () => {
  const program = `
    import { createClient, type Job, type ListEnvelope } from 'flotilla/sdk';
    const client = createClient({ url: 'http://127.0.0.1:7070', publicKey: 'pk', secretKey: 'sk' });
    const parameters = { type: 'docker', parameters: { image: 'busybox' } } as const;
    const job: Job = await client.jobs.create({ parameters, cpu_count: 1 });
    const list: ListEnvelope<Job> = await client.jobs.list();
    const status: 'PENDING' | 'ASSIGNED' | 'RUNNING' | 'COMPLETED' | 'FAILED' | 'CANCELLED' = job.status;
    // @ts-expect-error a field that the API does not have
    await client.jobs.create({ parameters, cpus: 1 });
    // @ts-expect-error a text is no number
    const total: string = list.total;
    export { status, total };`;
  writeFileSync(join(fresh, 'program.ts'), program);
  const [, first = ''] = /```ts\n([\s\S]*?)```/.exec(readFileSync(join(root, 'docs/sdk.md'), 'utf8')) ?? [];
  assert.match(first, /flotilla\/sdk/);
  writeFileSync(join(fresh, 'document.ts'), first);
  for (const dependency of ['@types/node', 'undici-types']) link(dependency);
  const flags = ['--noEmit', '--strict', '--module', 'nodenext', '--target', 'es2024', '--types', 'node'];
  await run(process.execPath, [
    join(root, 'node_modules/typescript/bin/tsc'),
    ...flags,
    'program.ts',
    'document.ts',
  ]);
});

test('its command speaks with a server', async () => {
  const { dependencies, version } = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8'));
  for (const name of Object.keys(dependencies)) if (!['ws', 'typebox'].includes(name)) link(name);
  const command = join(installed, 'scripts/flotilla.mjs');
  assert.equal((await run(process.execPath, [command, '--version'])).trim(), version);
  const [job] = JSON.parse(await run(process.execPath, [command, 'job', 'list', '--json']));
  assert.equal(job.title, 'from a package');
});
