// `flotilla node cordon|uncordon|drain|remove|events` against a real server: what a person sees, and the exit codes.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { runProgram } from '../../src/cli/program.ts';
import type { Roles } from '../../src/cli/roles.ts';
import type { Node } from '../../src/protocol/node.ts';
import { aJob, aNode } from '../support/builders.ts';
import { exited, type PlacedRun, released, report, running } from '../support/runs.ts';
import { eventually, startTestServer } from '../support/server.ts';

const server = await startTestServer();
const { admin } = server;

/** Starts a command; `said` grows while it runs. */
function flotilla(...args: string[]) {
  const said = { stdout: '', stderr: '' };
  const noRole = () => assert.fail('no role was asked for');
  const roles: Roles = {
    version: '0',
    up: noRole,
    server: noRole,
    nodeRun: noRole,
    keyRecover: noRole,
    clusterRestored: noRole,
  };
  const { publicKey, secretKey } = server.adminKey;
  const interrupts: (() => void)[] = [];
  const ended = runProgram(args, roles, {
    stdin: (async function* () {})(),
    stdout: { write: (text) => (said.stdout += text) },
    stderr: { write: (text) => (said.stderr += text) },
    env: { FLOTILLA_URL: server.url, FLOTILLA_PUBLIC_KEY: publicKey, FLOTILLA_SECRET_KEY: secretKey },
    homeDirectory: '/nowhere',
    isRoot: false,
    nowMs: () => performance.now(),
    sleep: async (ms, signal) => void (await sleep(ms, undefined, signal ? { signal } : {})),
    onInterrupt: (listener) => {
      interrupts.push(listener);
      return () => {};
    },
  });
  return { said, ended, interrupt: () => interrupts.at(-1)?.() };
}

async function ran(...args: string[]) {
  const { said, ended } = flotilla(...args);
  const code = await ended;
  return { code, ...said };
}

/** A node with `count` runs on it that were placed by the scheduler. */
async function aBusyNode(region: string, count: number) {
  const node = await aNode(server, { region });
  const runs: PlacedRun[] = [];
  for (let number = 0; number < count; number += 1) {
    const job = await admin.createJob(aJob({ allowed_region_codes: [region] }));
    const run = await eventually('a run', async () => {
      const { data } = await admin.listRuns({ 'filter[job_uuid]': job.uuid });
      return data[0];
    });
    const placed = { id: run.uuid, nodeId: run.node_uuid, attempt: run.attempt };
    await report(server, placed, running);
    runs.push(placed);
  }
  return { node, runs };
}

async function finish(run: PlacedRun | undefined): Promise<void> {
  assert.ok(run);
  await report(server, run, exited(0));
  await report(server, run, released);
}

test('cordon and uncordon, by name, with a reason', async () => {
  const node = await aNode(server, { name: 'plain' });
  const cordoned = await ran('node', 'cordon', 'plain', '--reason', 'noisy fan');
  assert.deepEqual(cordoned, { code: 0, stdout: 'Node plain is cordoned.\n', stderr: '' });
  assert.match((await ran('node', 'get', 'plain')).stdout, /Status: +cordoned: noisy fan/);
  const { stdout, code } = await ran('node', 'uncordon', node.id, '--json');
  const shown = JSON.parse(stdout) as Node;
  assert.deepEqual([code, shown.uuid, shown.status], [0, node.id, 'ready']);
});

test('drain tells how many runs are left until the node is empty', async () => {
  const { node, runs } = await aBusyNode('eu-north-1', 2);
  const drain = flotilla('node', 'drain', node.name, '--deadline', '30m', '--reason', 'new disks');
  await eventually('two runs left', async () => drain.said.stdout.includes('2 runs left'));
  await finish(runs[0]);
  await eventually('one run left', async () =>
    drain.said.stdout.includes('draining: 1 run left, stopped at 2'),
  );
  await finish(runs[1]);
  assert.equal(await drain.ended, 0);
  assert.match(drain.said.stdout, /empty; cordoned\n$/);
  assert.equal(drain.said.stderr, '');
});

test('drain: no wait, a limited wait, Ctrl-C, JSON', async () => {
  const { node, runs } = await aBusyNode('eu-west-1', 1);
  const started = await ran('node', 'drain', node.name, '--no-wait');
  assert.deepEqual([started.code, started.stdout.split('\n').length], [0, 2]);
  const limited = await ran('node', 'drain', node.name, '--timeout', '100ms');
  assert.equal(limited.code, 8);
  assert.match(limited.stderr, /still holds 1 run; the drain goes on by itself/);
  const interrupted = flotilla('node', 'drain', node.name);
  await eventually('it waits', async () => interrupted.said.stdout.includes('1 run left'));
  interrupted.interrupt();
  assert.equal(await interrupted.ended, 130);
  assert.match(interrupted.said.stderr, /goes on without us/);
  await finish(runs[0]);
  const { code, stdout, stderr } = await ran('node', 'drain', node.name, '--json');
  const shown = JSON.parse(stdout) as Node;
  assert.deepEqual([code, shown.status, shown.drain, shown.job_run_count], [0, 'cordoned', null, 0]);
  assert.match(stderr, /empty; cordoned/);
});

test('remove: refused with what to do while it holds runs, then done, and the events say it all', async () => {
  const { node, runs } = await aBusyNode('us-east-1', 1);
  const refused = await ran('node', 'remove', node.name);
  assert.equal(refused.code, 2);
  assert.match(refused.stderr, /holds 1 run: drain it first/);
  await finish(runs[0]);
  const removed = await ran('node', 'remove', node.name, '--reason', 'sold');
  assert.deepEqual(removed, { code: 0, stdout: `Node ${node.name} is removed.\n`, stderr: '' });
  assert.equal((await ran('node', 'get', node.name)).code, 3);
  const events = await ran('node', 'events', node.id);
  assert.match(events.stdout, /removed +key pk_\w+ from 127\.0\.0\.1 +sold\n/);
  const { stdout } = await ran('node', 'events', node.id, '--json', '--all');
  assert.deepEqual(
    (JSON.parse(stdout) as { kind: string }[]).map(({ kind }) => kind),
    ['removed', 'ready'],
  );
});

test('accept-restore: one node or all that wait, and what is removed with it', async () => {
  assert.deepEqual(await ran('node', 'accept-restore', '--all'), {
    ...{ code: 0, stdout: 'No node waits for this.\n', stderr: '' },
  });
  const [one, two] = [await aNode(server, { name: 'one' }), await aNode(server, { name: 'two' })];
  await server.database.query(
    `update nodes set awaits_word = true,
       orphans = '[{"run_uuid": "01a2097e-214c-79e0-9176-89fcad40efa4", "attempt": 1, "state": "running",
         "first_seen_at": 0, "removal_at": null}]' where id = any ($1::uuid[])`,
    [[one.id, two.id]],
  );
  const shown = await ran('node', 'get', 'one');
  assert.match(shown.stdout, /Status: +cordoned: The database was restored/);
  assert.match(shown.stdout, /running {2}run 01a2097e\S+ {2}seen \S+, stays until accept-restore/);
  const accepted = await ran('node', 'accept-restore', 'one', '--reason', 'looked at it');
  assert.deepEqual(accepted, {
    code: 0,
    stdout: 'Node one is ready; 1 container that the database does not know will be removed.\n',
    stderr: '',
  });
  assert.match(
    (await ran('node', 'events', 'one')).stdout,
    /restore_accepted +key \S+ from \S+ +looked at it/,
  );
  const { stdout } = await ran('node', 'accept-restore', '--all', '--json');
  assert.deepEqual(
    (JSON.parse(stdout) as Node[]).map(({ name, status }) => [name, status]),
    [['two', 'ready']],
  );
  assert.match((await ran('node', 'accept-restore')).stderr, /Name the node, or give --all/);
});

test('the help of each names an example', async () => {
  for (const name of ['cordon', 'uncordon', 'drain', 'remove', 'accept-restore', 'events']) {
    const { stdout, code } = await ran('node', name, '--help');
    assert.deepEqual([code, stdout.includes(`flotilla node ${name} gpu-1`)], [0, true], name);
  }
});
