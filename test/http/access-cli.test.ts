// Accounts, users, keys, the audit log and rate limits through the command line, against a real server.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { Io } from '../../src/cli/io.ts';
import { runProgram } from '../../src/cli/program.ts';
import type { Roles } from '../../src/cli/roles.ts';
import type { KeyPair } from '../support/client.ts';
import { startTestServer } from '../support/server.ts';

const server = await startTestServer({ hasScheduler: false });
const folder = mkdtempSync(join(tmpdir(), 'flotilla-access-'));
after(() => rmSync(folder, { recursive: true }));

async function flotilla(args: string[], key: KeyPair | null = server.adminKey) {
  const said = { stdout: '', stderr: '' };
  const never = () => assert.fail('no role is asked for here');
  const roles: Roles = {
    ...{ version: 'test', up: never, server: never, nodeRun: never },
    ...{ clusterRestored: never, keyRecover: never },
  };
  const signed =
    key === null ? {} : { FLOTILLA_PUBLIC_KEY: key.publicKey, FLOTILLA_SECRET_KEY: key.secretKey };
  const io: Io = {
    stdin: (async function* () {})(),
    stdout: { write: (text) => (said.stdout += text) },
    stderr: { write: (text) => (said.stderr += text) },
    env: { FLOTILLA_URL: server.url, ...signed },
    ...{ homeDirectory: folder, isRoot: false, nowMs: Date.now },
    sleep: async () => {},
    onInterrupt: () => () => {},
  };
  return { code: await runProgram(args, roles, io), ...said };
}

async function ask<T>(...args: string[]): Promise<T> {
  const { code, stdout, stderr } = await flotilla([...args, '--json']);
  assert.deepEqual([code, stderr], [0, ''], args.join(' '));
  return JSON.parse(stdout) as T;
}

test('an account, its users and their keys, from nothing to removed', async () => {
  const account = await ask<{ uuid: string }>('account', 'create', 'physics');
  assert.match((await flotilla(['account', 'list'])).stdout, new RegExp(`${account.uuid} +physics`));
  await server.admin.ask('POST', `/v1/accounts/${account.uuid}/credits`, { body: { amount_usd: 7 } });
  assert.match((await flotilla(['account', 'show', account.uuid])).stdout, /Available: +7\.00 USD/);
  assert.match((await flotilla(['account', 'show', 'physics'])).stdout, /Available: +7\.00 USD/);
  assert.match((await flotilla(['account', 'show', 'chemistry'])).stderr, /flotilla account list/);
  const key = join(folder, 'physics.json');
  await ask('key', 'create', '--account', 'physics', '--preset', 'admin', '--out', key);
  const asPhysics = (...args: string[]) => flotilla([...args, '--key-file', key], null);
  assert.match((await asPhysics('whoami')).stdout, /Account: +physics/);
  assert.match(
    (await asPhysics('user', 'create', 'ann@example.org', '--role', 'operator')).stdout,
    /operator/,
  );
  const made = await asPhysics('key', 'create', '--user', 'ANN@example.org', '--json');
  assert.deepEqual((JSON.parse(made.stdout) as { preset: string }).preset, 'operator');
  assert.match((await asPhysics('user', 'list')).stdout, /ann@example\.org +operator/);
  assert.match((await asPhysics('user', 'role', 'ann@example.org', 'consumer')).stdout, /consumer now/);
  assert.notEqual((await asPhysics('user', 'role', 'ann@example.org', 'king')).code, 0);
  assert.match((await asPhysics('user', 'remove', 'ann@example.org')).stdout, /removed/);
  assert.match((await asPhysics('user', 'remove', 'ann@example.org')).stderr, /flotilla user list/);
  assert.doesNotMatch((await flotilla(['user', 'list'])).stdout, /ann@/);
  assert.match((await flotilla(['audit', 'list', '--account', 'physics'])).stdout, /user_removed/);
  assert.match((await flotilla(['user', 'list', '--account', 'physics'])).stdout, /ann@/);
});

test('of two accounts of one name the uuid is asked for', async () => {
  const first = await ask<{ uuid: string }>('account', 'create', 'twins');
  await ask('account', 'create', 'twins');
  const { code, stderr } = await flotilla(['ledger', 'balance', 'twins']);
  assert.deepEqual(
    [code !== 0, stderr.includes(first.uuid), /give the uuid/.test(stderr)],
    [true, true, true],
  );
});

test('a key is changed, rotated and shown to be what it was made', async () => {
  type Key = { uuid: string; public_key: string; secret_key: string };
  const key = await ask<Key>(
    'key',
    'create',
    '--name',
    'ci',
    '--permission',
    'jobs:read',
    '--rate-limit',
    '50',
  );
  const changed = await flotilla([
    'key',
    'update',
    key.public_key,
    '--permission',
    'jobs:read',
    'nodes:read',
  ]);
  assert.match(changed.stdout, /may: jobs:read, nodes:read/);
  const rotated = await ask<Key>('key', 'rotate', key.uuid, '--overlap', '1h');
  for (const secretKey of [key.secret_key, rotated.secret_key]) {
    const { stdout } = await flotilla(['whoami'], { publicKey: key.public_key, secretKey });
    assert.match(stdout, /Permissions: jobs:read, nodes:read/);
  }
  const file = join(folder, 'rotated.json');
  const kept = await flotilla(['key', 'rotate', key.uuid, '--out', file]);
  assert.doesNotMatch(kept.stdout, /sk_/);
  assert.equal((await flotilla(['whoami', '--key-file', file], null)).code, 0);
  const old = { publicKey: key.public_key, secretKey: rotated.secret_key };
  assert.notEqual((await flotilla(['whoami'], old)).code, 0);
});

test('the audit log is listed, verified, and a forged entry is named with exit code 1', async () => {
  const { stdout } = await flotilla(['audit', 'list', '--action', 'account_created,key_rotated', '--all']);
  assert.match(stdout, /account_created/);
  assert.match(stdout, new RegExp(`key_rotated +${server.adminKey.publicKey} from 127\\.0\\.0\\.1`));
  const right = await flotilla(['audit', 'verify']);
  assert.equal(right.code, 0);
  const [, head = ''] = /Head: +([0-9a-f]{64})/.exec(right.stdout) ?? [];
  await flotilla(['rate-limit', '15000']);
  assert.equal((await flotilla(['audit', 'verify', '--head', head])).code, 0);
  assert.equal((await flotilla(['audit', 'verify', '--head', '0'.repeat(64)])).code, 1);
  await server.database.transaction(async (sql) => {
    await sql.query('set local session_replication_role = replica');
    await sql.query(`update audit_log set actor = '{}' where sequence = 2`);
  });
  const wrong = await flotilla(['audit', 'verify']);
  assert.deepEqual([wrong.code, /Entry 2 is not as it was written\./.test(wrong.stdout)], [1, true]);
});

test('the rate limit is shown and set', async () => {
  assert.match((await flotilla(['rate-limit', '12345'])).stdout, /12345 requests a second/);
  const usual = (await flotilla(['rate-limit', 'default'])).stdout;
  assert.equal((await flotilla(['rate-limit'])).stdout, usual);
  assert.notEqual((await flotilla(['rate-limit', '0'])).code, 0);
});
