// Recipes, GPU models, offers and the ledger through the command line, against a real server.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { Io } from '../../src/cli/io.ts';
import { runProgram } from '../../src/cli/program.ts';
import type { Roles } from '../../src/cli/roles.ts';
import { aJob, aNode } from '../support/builders.ts';
import { startTestServer } from '../support/server.ts';

const server = await startTestServer({ hasScheduler: false });
const folder = mkdtempSync(join(tmpdir(), 'flotilla-market-'));
after(() => rmSync(folder, { recursive: true }));
const rtx5090 = '0198ac1c-7063-4be8-bb94-57a5bd83548e';

await aNode(server, { cpus: 16, gpus: [{ name: 'NVIDIA GeForce RTX 5090', vramMib: 32_607 }] });

async function flotilla(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const said = { stdout: '', stderr: '' };
  const never = () => assert.fail('no role is asked for here');
  const roles: Roles = {
    ...{ version: 'test', up: never, server: never, nodeRun: never },
    ...{ clusterRestored: never, keyRecover: never },
  };
  const { publicKey, secretKey } = server.adminKey;
  const io: Io = {
    stdin: (async function* () {})(),
    stdout: { write: (text) => (said.stdout += text) },
    stderr: { write: (text) => (said.stderr += text) },
    env: { FLOTILLA_URL: server.url, FLOTILLA_PUBLIC_KEY: publicKey, FLOTILLA_SECRET_KEY: secretKey },
    ...{ homeDirectory: folder, isRoot: false, nowMs: Date.now },
    sleep: async () => {},
    onInterrupt: () => () => {},
  };
  return { code: await runProgram(args, roles, io), ...said };
}

test('a recipe goes from a file to a job', async () => {
  const file = join(folder, 'recipe.json');
  const recipe = {
    name: 'sized',
    payload: aJob({ cpu_count: '$' + '{cpus}', title: 'sized' }),
    input_schema: [{ key: 'cpus', type: 'number', required: true, default_value: 1 }],
  };
  writeFileSync(file, JSON.stringify(recipe));
  const created = await flotilla('recipe', 'create', file);
  assert.deepEqual([created.code, created.stderr], [0, '']);
  assert.match((await flotilla('recipe', 'get', 'sized')).stdout, /cpus:\s+number, required; default 1/);
  const cooked = await flotilla(
    'recipe',
    'cook',
    'sized',
    '--input',
    'cpus=3',
    '--set',
    'title=mine',
    '--json',
  );
  const job = JSON.parse(cooked.stdout) as { cpu_count: number; title: string };
  assert.deepEqual([job.cpu_count, job.title], [3, 'mine']);
  const wrong = await flotilla('recipe', 'cook', 'sized', '--input', 'cpus=many');
  assert.notEqual(wrong.code, 0);
  assert.match(wrong.stderr, /inputs\.cpus: expected a number/);
  assert.match((await flotilla('recipe', 'cook', 'nothing')).stderr, /flotilla recipe list/);
  writeFileSync(file, JSON.stringify({ payload: aJob({ title: 'sized' }), input_schema: [] }));
  const updated = await flotilla('recipe', 'update', 'sized', file);
  assert.match(updated.stdout, /^Recipe \S+ is at version 2\.\n$/);
});

test('official recipes are listed, forked and archived', async () => {
  const { stdout } = await flotilla('recipe', 'list', '--official');
  assert.match(stdout, /SSH box.*official/);
  const [copy = ''] = (await flotilla('recipe', 'fork', 'SSH box', '--name', 'my box')).stdout.split('\n');
  assert.match((await flotilla('recipe', 'archive', copy)).stdout, /archived/);
  assert.match((await flotilla('recipe', 'cook', copy)).stderr, /archived/);
});

test('models, prices and offers are tables', async () => {
  assert.match(
    (await flotilla('gpu', 'list', '--available')).stdout,
    /NVIDIA GeForce RTX 5090\s+32\s+0\.69\s+1\/1/,
  );
  assert.match((await flotilla('gpu', 'price', rtx5090, '0.55')).stdout, /0\.55 USD an hour/);
  const { stdout } = await flotilla('offers', '--gpus', '1', '--min-vram', '24');
  assert.match(stdout, /NVIDIA GeForce RTX 5090\s+1\s+32\s+16\s+.*0\.55/);
});

test('credits and the check of the ledger', async () => {
  const account = server.storage.account.id;
  assert.match((await flotilla('ledger', 'credit', account, '12.5')).stdout, /12\.50 USD now/);
  assert.match((await flotilla('ledger', 'list')).stdout, /credit\s+12\.500000\s+12\.50/);
  const checked = await flotilla('ledger', 'verify');
  assert.equal(checked.code, 0);
  assert.match(checked.stdout, /Ledger:\s+right/);
});
