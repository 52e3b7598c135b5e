// Budgets, balances, prepaid accounts and the weeks of nodes through the command line, against a real server.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { Io } from '../../src/cli/io.ts';
import { runProgram } from '../../src/cli/program.ts';
import type { Roles } from '../../src/cli/roles.ts';
import { computeEpochs, openEpochs } from '../../src/db/epochs.ts';
import { aNode } from '../support/builders.ts';
import { place, report, running } from '../support/runs.ts';
import { startTestServer } from '../support/server.ts';

const server = await startTestServer({ hasScheduler: false });
const folder = mkdtempSync(join(tmpdir(), 'flotilla-money-'));
after(() => rmSync(folder, { recursive: true }));
const node = await aNode(server, { name: 'gpu-1' });

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

test('a job is submitted with a budget, shows it, and is renewed', async () => {
  const limits = ['--max-cost', '2.5', '--renew-within', '10m', '--idle-timeout', '30m'];
  const { stdout: uuid } = await flotilla('job', 'submit', 'busybox', '--task', 'PERSISTENT', ...limits);
  const job = await server.admin.getJob(uuid.trim());
  assert.deepEqual([job.max_cost_usd, job.renew_within_ms, job.idle_timeout_ms], [2.5, 600_000, 1_800_000]);
  assert.match((await flotilla('job', 'renew', job.uuid)).stdout, /^PENDING. It counts from its start.$/m);
  await report(server, await place(server, job.uuid, node.id), running);
  assert.match((await flotilla('job', 'renew', job.uuid)).stdout, /^RUNNING. Renew it by 20\d\d-/);
  const shown = (await flotilla('job', 'get', job.uuid)).stdout;
  assert.match(shown, /Costs at most:?\s+2.5 USD/);
  assert.match(shown, /Stopped when idle for:?\s+30m/);
  const plain = (await flotilla('job', 'submit', 'busybox')).stdout.trim();
  const refused = await flotilla('job', 'renew', plain);
  assert.ok(refused.code !== 0);
  assert.match(refused.stderr, /no renew_within_ms/);
});

test('the admin sets what billing does, and sees what an account has left', async () => {
  const account = server.storage.account.id;
  assert.match((await flotilla('ledger', 'billing')).stdout, /Accounts pay in advance:?\s+no/);
  const set = await flotilla('ledger', 'billing', '--node-worked', '0.25', '--json');
  assert.equal(JSON.parse(set.stdout).node_worked_usd, 0.25);
  await flotilla('ledger', 'credit', account, '5');
  assert.match((await flotilla('ledger', 'prepaid', account, 'on')).stdout, /Pays in advance:?\s+yes/);
  assert.match((await flotilla('ledger', 'balance', account)).stdout, /Available:?\s+5.000000 USD/);
  assert.match((await flotilla('ledger', 'prepaid', account, 'maybe')).stderr, /none of on, off and default/);
  const back = await flotilla('ledger', 'prepaid', account, 'default', '--json');
  assert.equal(JSON.parse(back.stdout).prepaid, false);
  assert.match((await flotilla('ledger', 'billing', '--prepaid', 'yes')).stderr, /on or off/);
});

test('an operator sees the weeks of a node', async () => {
  await openEpochs(server.database);
  await computeEpochs(server.database, { limit: 10, everyMs: 1 });
  const table = await flotilla('node', 'epochs', 'gpu-1');
  assert.match(table.stdout, /WEEK OF\s+STATUS\s+AVAILABLE H/);
  assert.match(table.stdout, /ACTIVE\s+0.0\d\s+0.0\d\s+0.0\d/);
  assert.equal(
    JSON.parse((await flotilla('node', 'epochs', node.id, '--json')).stdout)[0].node_uuid,
    node.id,
  );
});
