// `flotilla job stop` with filters, against a real server: what it shows, when it asks, and what it waits for.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { resolve } from 'node:path';
import { before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { Io } from '../../src/cli/io.ts';
import { runProgram } from '../../src/cli/program.ts';
import type { Roles } from '../../src/cli/roles.ts';
import { newId } from '../../src/main/ids.ts';
import { type ANode, aJob, aNode } from '../support/builders.ts';
import type { Client } from '../support/client.ts';
import { place, released, report, running } from '../support/runs.ts';
import { startTestServer } from '../support/server.ts';

const server = await startTestServer({ hasScheduler: false });
let node: ANode;

before(async () => {
  node = await aNode(server, { cpus: 100 });
});

const noRole = () => assert.fail('a stop needs no role');
const roles: Roles = {
  version: '1',
  up: noRole,
  server: noRole,
  nodeRun: noRole,
  keyRecover: noRole,
  clusterRestored: noRole,
};

interface Person {
  client: Client;
  env: Record<string, string>;
  /** `answer`: what is typed at a question; without it nobody sits there. `onPause`: called at each pause of waiting. */
  stop(
    args: string[],
    options?: {
      answer?: () => Promise<string>;
      onPause?: (interrupt: () => void) => Promise<void>;
      /** `job list` with the same words. */
      isList?: boolean;
    },
  ): Promise<{ code: number; stdout: string; stderr: string }>;
}

async function aPerson(): Promise<Person> {
  const accountId = await server.createAccount(`account ${newId()}`);
  const key = await server.createKey({ preset: 'admin', accountId });
  const env = {
    FLOTILLA_URL: server.url,
    FLOTILLA_PUBLIC_KEY: key.publicKey,
    FLOTILLA_SECRET_KEY: key.secretKey,
  };
  return {
    client: server.client(key),
    env,
    async stop(args, { answer, onPause, isList = false } = {}) {
      const said = { stdout: '', stderr: '' };
      let interrupt = () => {};
      const typed = (async function* () {
        yield (await answer?.()) ?? '';
      })();
      const isTTY = answer !== undefined;
      const io: Io = {
        stdin: Object.assign(typed, { isTTY }),
        stdout: { write: (text) => (said.stdout += text) },
        stderr: { isTTY, columns: 200, write: (text) => (said.stderr += text) },
        env,
        homeDirectory: '/nonexistent',
        isRoot: false,
        nowMs: Date.now,
        async sleep(_ms, signal) {
          await onPause?.(interrupt);
          await delay(5);
          signal?.throwIfAborted();
        },
        onInterrupt(listener) {
          interrupt = listener;
          return () => {};
        },
      };
      const code = await runProgram(['job', isList ? 'list' : 'stop', ...args], roles, io);
      return { code, ...said };
    },
  };
}

async function submit(client: Client, fields: Parameters<typeof aJob>[0]): Promise<string> {
  return (await client.createJob(aJob(fields))).uuid;
}

async function statusOf(client: Client, ...uuids: string[]): Promise<string> {
  return (await Promise.all(uuids.map(async (uuid) => (await client.getJob(uuid)).status))).join(' ');
}

async function threeJobs(client: Client): Promise<[string, string, string]> {
  const a = await submit(client, { title: 'nightly-a', labels: { team: 'x', stage: '1' } });
  const b = await submit(client, { title: 'nightly-b', labels: { team: 'x' } });
  const c = await submit(client, { title: 'daily', task: 'PERSISTENT', max_timeout_run_ms: null });
  return [a, b, c];
}

const selections: [args: string[], expected: string][] = [
  [['--all'], 'CANCELLED CANCELLED CANCELLED'],
  [['--status', 'pending,running'], 'CANCELLED CANCELLED CANCELLED'],
  [['--status', 'ASSIGNED', '--status', 'RUNNING'], 'PENDING PENDING PENDING'],
  [['--task', 'persistent'], 'PENDING PENDING CANCELLED'],
  [['--title', 'nightly-'], 'CANCELLED CANCELLED PENDING'],
  [['--label', 'team=x', '--label', 'stage=1'], 'CANCELLED PENDING PENDING'],
  [['--older-than', '1h'], 'PENDING PENDING PENDING'],
  [['--older-than', '1ms', '--title', 'd'], 'PENDING PENDING CANCELLED'],
];
for (const [args, expected] of selections) {
  test(`job stop ${args.join(' ')}`, async () => {
    const { client, stop } = await aPerson();
    const jobs = await threeJobs(client);
    await delay(5);
    const before = await statusOf(client, ...jobs);
    const dry = await stop([...args, '--dry-run']);
    assert.equal(dry.code, 0, dry.stderr);
    assert.equal(await statusOf(client, ...jobs), before);
    const listed = await stop(args, { isList: true });
    for (const uuid of jobs) assert.equal(listed.stdout.includes(uuid), dry.stdout.includes(uuid), uuid);
    const stopped = await stop([...args, '--reason', 'enough']);
    assert.equal(stopped.code, 0, stopped.stderr);
    assert.equal(await statusOf(client, ...jobs), expected);
    const count = expected.split('CANCELLED').length - 1;
    const lines = stopped.stdout
      .split('\n')
      .filter((line) => /^[0-9a-f-]{36} {2}PENDING {2}stopped {2}/.test(line));
    assert.equal(lines.length, count, stopped.stdout);
    const jobsText = count === 1 ? '1 job' : `${count} jobs`;
    assert.equal(stopped.stderr, count === 0 ? 'No job matches.\n' : `${jobsText}: ${count} stopped.\n`);
    assert.equal(dry.stderr, stopped.stderr.replace('stopped', 'would stop'));
    assert.equal(
      dry.stdout,
      stopped.stdout.replaceAll('  stopped  ', '  would stop  ').replace('OUTCOME', 'OUTCOME   '),
    );
  });
}

test('--json prints what the server answered', async () => {
  const { client, stop } = await aPerson();
  const [a] = await threeJobs(client);
  const { code, stdout, stderr } = await stop(['--label', 'stage=1', '--json']);
  assert.deepEqual([code, stderr], [0, '']);
  const { object, counts, jobs } = JSON.parse(stdout);
  assert.deepEqual([object, counts.stopped, jobs[0].uuid, jobs[0].outcome], ['job_stops', 1, a, 'stopped']);
});

for (const [answer, stops] of [
  ['y\n', true],
  ['YES\n', true],
  ['n\n', false],
  ['\n', false],
  ['yellow\n', false],
  ['', false],
] as const) {
  test(`on a terminal the answer ${JSON.stringify(answer)} ${stops ? 'stops' : 'stops nothing'}`, async () => {
    const { client, stop } = await aPerson();
    const jobs = await threeJobs(client);
    let later = '';
    const answered = await stop(['--all'], {
      async answer() {
        later = await submit(client, { title: 'submitted while asked' });
        return answer;
      },
    });
    assert.match(answered.stderr, /nightly-a\n(.*\n)*Stop 3 jobs\? \[y\/N\] /);
    assert.equal(answered.code, stops ? 0 : 1);
    assert.equal((await statusOf(client, ...jobs)).includes('CANCELLED'), stops);
    assert.equal(await statusOf(client, later), 'PENDING', 'it was not in what was asked');
    if (!stops) assert.match(answered.stderr, /Nothing was stopped\.\n$/);
  });
}

test('at a real terminal the command asks, and ends with the answer', async () => {
  const { client, env } = await aPerson();
  const jobs = await threeJobs(client);
  const steps = [
    ['expect', 'Stop 3 jobs\\? \\[y/N\\] '],
    ['send', 'y\r'],
    ['expect', '3 jobs: 3 stopped\\.'],
  ];
  const terminal = resolve(import.meta.dirname, '../support/on_terminal.py');
  const main = resolve(import.meta.dirname, '../../src/main.ts');
  const args = [terminal, JSON.stringify(steps), process.execPath, main, 'job', 'stop', '--all'];
  const child = spawn('python3', args, { env: { ...process.env, ...env } });
  let printed = '';
  for await (const chunk of child.stdout) printed += chunk;
  const { code, missing, output } = JSON.parse(printed);
  assert.deepEqual([code, missing], [0, undefined], output);
  assert.equal(await statusOf(client, ...jobs), 'CANCELLED CANCELLED CANCELLED');
});

test('with --yes nobody is asked, and of nothing neither', async () => {
  const { client, stop } = await aPerson();
  const answer = () => assert.fail('nobody is asked');
  assert.match((await stop(['--all'], { answer })).stderr, /^No job matches\.\n$/);
  const jobs = await threeJobs(client);
  assert.equal((await stop(['--all', '--yes'], { answer })).code, 0);
  assert.equal(await statusOf(client, ...jobs), 'CANCELLED CANCELLED CANCELLED');
});

test('uuids beside a filter: each is answered for, and one that is unknown is exit code 3', async () => {
  const { client, stop } = await aPerson();
  const [a, b, c] = await threeJobs(client);
  const unknown = newId();
  const { code, stdout, stderr } = await stop([a, unknown, c, '--title', 'nightly']);
  assert.equal(code, 3);
  assert.match(stdout, new RegExp(`^${a} +PENDING +stopped`, 'm'));
  assert.match(stdout, new RegExp(`^${c} +PENDING +unchanged`, 'm'));
  assert.match(stdout, new RegExp(`^${unknown} +- +not found`, 'm'));
  assert.match(stderr, /^3 jobs: 1 stopped, 1 unchanged, 1 not found\.$/m);
  assert.equal(await statusOf(client, a, b, c), 'CANCELLED PENDING PENDING');
});

test('what the server refuses is exit code 2 and stops nothing', async () => {
  const { client, stop } = await aPerson();
  const jobs = await threeJobs(client);
  for (const args of [
    ['--all', '--status', 'PENDING'],
    ['--title', ''],
    ['--label', 'team'],
    ['--task', 'x'],
  ])
    assert.equal((await stop(args)).code, 2, args.join(' '));
  assert.equal((await stop(['--dry-run'])).code, 1);
  assert.equal(await statusOf(client, ...jobs), 'PENDING PENDING PENDING');
});

async function aRunningJob(client: Client) {
  const uuid = await submit(client, { title: 'running' });
  const run = await place(server, uuid, node.id);
  await report(server, run, running);
  return run;
}

test('it waits until the containers are gone, and says so', async () => {
  const { client, stop } = await aPerson();
  const runs = [await aRunningJob(client), await aRunningJob(client)];
  const { code, stdout, stderr } = await stop(['--all'], {
    async onPause() {
      const run = runs.pop();
      if (run !== undefined) await report(server, run, released);
    },
  });
  assert.equal(code, 0, stderr);
  assert.equal(stdout.match(/RUNNING {2}stopped, with a container {2}running$/gm)?.length, 2, stdout);
  assert.match(stderr, /^2 jobs: 2 stopped\.\n2 of 2 containers gone, verified, after /);
});

test('waiting ends with its time, with Ctrl-C, and does not begin with --no-wait', async () => {
  const { client, stop } = await aPerson();
  await aRunningJob(client);
  assert.equal((await stop(['--all', '--no-wait'])).code, 0);
  await aRunningJob(client);
  const late = await stop(['--all', '--timeout', '20ms']);
  assert.equal(late.code, 8);
  assert.match(late.stderr, /1 of 1 containers are not gone yet/);
  await aRunningJob(client);
  const left = await stop(['--all'], { onPause: async (interrupt) => interrupt() });
  assert.equal(left.code, 130);
  assert.match(left.stderr, /What was stopped stays stopped/);
});
