// A range of two public ports: who comes too late is told so, never runs unreachable, and is served once ports are free.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { listOpenPorts, openPortRange } from '../../src/db/gateway-ports.ts';
import { applyRunEvents } from '../../src/db/run-events.ts';
import { namedPortCount } from '../../src/domain/job.ts';
import { defaultGatewaySettings } from '../../src/main/gateway-settings.ts';
import type { DesiredRun, RunEvent } from '../../src/protocol/agent-messages.ts';
import type { JobRun } from '../../src/protocol/job-run.ts';
import type { Node } from '../../src/protocol/node.ts';
import { HandAgent } from '../support/agent.ts';
import { aJob, anInventory } from '../support/builders.ts';
import {
  exited as exitedEvent,
  released as releasedEvent,
  running as runningEvent,
} from '../support/runs.ts';
import { eventually, startTestServer } from '../support/server.ts';

const range = { from: 21_010, to: 21_011 };
const server = await startTestServer({
  gateway: { ...defaultGatewaySettings, ports: range, listenHost: '127.0.0.5' },
});
const { admin, database } = server;
const agent = await aHandAgent();
after(() => agent.close());

async function aHandAgent(): Promise<HandAgent> {
  const node = await admin.ask<Node & { key: { public_key: string; secret_key: string } }>(
    'POST',
    '/v1/nodes',
    { body: { name: 'node-1' } },
  );
  const { public_key: publicKey, secret_key: secretKey } = node.key;
  const dialled = await HandAgent.dial(server.client({ publicKey, secretKey }));
  await dialled.greet({ inventory: anInventory({ cpus: 8 }) });
  return dialled;
}

const running = (ports: number[]): RunEvent => ({
  ...{ kind: 'running', started_ms_ago: 0, image_digest: null, image_size_bytes: null, ports },
});
const exited: RunEvent = {
  ...{ kind: 'exited', exit_code: 143, exit_signal: null, is_oom_killed: false, ended_ms_ago: 0, ran_ms: 5 },
  ...{ error: null, last_log_lines: '' },
};
const released: RunEvent = { kind: 'released', is_log_complete: true, steps: [] };

/** Submits a job and gives the order that the agent gets for it. */
async function ordered(fields: Record<string, unknown> = {}): Promise<DesiredRun> {
  await admin.createJob(aJob(fields));
  return nextOrder();
}

async function nextOrder(): Promise<DesiredRun> {
  const [run] = (await agent.next('desired')).runs;
  return run ?? assert.fail('an order names a run');
}

async function end(run: DesiredRun): Promise<void> {
  await agent.report(run, exited);
  await agent.report(run, released);
}

const sshkey = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB7dbDQXKmUmqkGVhb8S3qHNhGbMOLsCkYCcyqMQdNWN me';
const runOf = ({ run_uuid }: DesiredRun) => admin.ask<JobRun>('GET', `/v1/job-runs/${run_uuid}`);

test('a job without retries fails in a sentence, was never RUNNING, and its container is told to stop', async () => {
  const first = await ordered();
  await agent.report(first, running([80, 443]));
  assert.equal((await runOf(first)).node_urls.length, 2);
  const late = await ordered();
  await agent.report(late, running([80]));
  const { desired } = await nextOrder();
  assert.equal(desired, 'stop');
  const job = await admin.getJob(late.job_uuid);
  assert.equal(job.status, 'FAILED');
  assert.match(job.status_reason ?? '', /^No public port was free for the job:.*--gateway-ports\.$/);
  assert.deepEqual(job.status_detail, { code: 'no_public_port' });
  const statuses = await database.query<{ to_status: string }>(
    'select to_status from job_events where run_id = $1 order by id',
    [late.run_uuid],
  );
  assert.deepEqual(
    statuses.map((event) => event.to_status),
    ['ASSIGNED', 'FAILING'],
  );
  await end(late);
  assert.equal((await runOf(late)).status, 'FAILED');
  await end(first);
});

test('one that wants more ports than there are gets none of them', async () => {
  const greedy = await ordered();
  await agent.report(greedy, running([1, 2, 3]));
  assert.equal((await runOf(greedy)).status, 'FAILING');
  assert.deepEqual(await listOpenPorts(database), []);
  await nextOrder();
  await end(greedy);
});

test('a retry on the same node gets the ports that became free meanwhile', async () => {
  const first = await ordered();
  await agent.report(first, running([80, 443]));
  const late = await ordered({ max_retry_count: 1 });
  await agent.report(late, running([80]));
  assert.equal((await admin.getJob(late.job_uuid)).status, 'ASSIGNED');
  await nextOrder();
  await end(first);
  await end(late);
  const again = await nextOrder();
  assert.deepEqual([again.job_uuid, again.attempt], [late.job_uuid, 2]);
  await agent.report(again, running([80]));
  const run = await runOf(again);
  assert.equal(run.status, 'RUNNING');
  assert.deepEqual(
    run.node_urls.map(({ description }) => description),
    ['80'],
  );
  await end(again);
});

test('a run whose whole life is told at once leaves no port behind', async () => {
  const run = await ordered();
  const from = { nodeId: (await runOf(run)).node_uuid, attempt: run.attempt };
  const told = (event: typeof runningEvent) => ({ runId: run.run_uuid, from, event });
  await applyRunEvents(
    database,
    [
      { ...told(runningEvent), publish: [80, 443] },
      { ...told(runningEvent), publish: [80, 443] },
      told(exitedEvent(0)),
      told(() => releasedEvent),
    ],
    { kind: 'node' },
  );
  assert.deepEqual((await runOf(run)).node_urls, []);
  const held = await database.query('select port from gateway_ports where run_id is not null');
  assert.deepEqual(held, []);
  assert.equal((await runOf(run)).status, 'COMPLETED');
  await eventually('no port to be listened on', async () => (await listOpenPorts(database)).length === 0);
});

test('a job that names its ports is not even placed without them, says why, and blocks nobody', async () => {
  const holder = await ordered({ container: { ports: [80] } });
  await agent.report(holder, running([80]));
  const waiting = await admin.createJob(aJob({ container: { ports: [80], sshkey } }));
  const reason = await eventually('the reason why it waits', async () => {
    const job = await admin.getJob(waiting.uuid);
    assert.equal(job.status, 'PENDING');
    return job.pending_reason;
  });
  assert.equal(reason.code, 'no_public_port');
  assert.match(reason.message, /^No public port is free: needs 2 of the gateway/);
  // One port is left, and jobs without ports need none.
  for (const ports of [[443], []]) {
    const other = await ordered({ container: { ports } });
    assert.notEqual(other.job_uuid, waiting.uuid);
    await agent.report(other, running(ports));
    assert.equal((await runOf(other)).status, 'RUNNING');
    await end(other);
  }
  await end(holder);
  const order = await nextOrder();
  assert.equal(order.job_uuid, waiting.uuid);
  await agent.report(order, running([80, 22]));
  assert.equal((await runOf(order)).node_urls.length, 2);
  await end(order);
});

test('ports are promised from the placement on, so that two jobs that start together do not get the same', async () => {
  const first = await ordered({ container: { ports: [1, 2] } });
  const second = await admin.createJob(aJob({ container: { ports: [1] } }));
  await eventually('the reason why it waits', async () => {
    const job = await admin.getJob(second.uuid);
    return job.pending_reason?.code === 'no_public_port';
  });
  await agent.report(first, running([1, 2]));
  assert.equal((await runOf(first)).status, 'RUNNING');
  await end(first);
  const order = await nextOrder();
  assert.equal(order.job_uuid, second.uuid);
  await agent.report(order, running([1]));
  await end(order);
});

test('a port that is held when the range gets narrower is given to nobody after its run', async () => {
  const holder = await ordered({ container: { ports: [1, 2] } });
  await agent.report(holder, running([1, 2]));
  await openPortRange(database, { from: range.from, to: range.from });
  assert.equal((await listOpenPorts(database)).length, 2, 'its own run keeps it');
  await end(holder);
  const narrow = await ordered({ container: { ports: [1] } });
  await agent.report(narrow, running([1]));
  assert.deepEqual(
    (await runOf(narrow)).node_urls.map(({ port }) => port),
    [range.from],
  );
  const exposed = await ordered();
  await agent.report(exposed, running([1]));
  assert.equal((await runOf(exposed)).status, 'FAILING');
  await openPortRange(database, range);
  for (const run of [narrow, exposed]) await end(run);
  const wide = await ordered({ container: { ports: [1, 2] } });
  await agent.report(wide, running([1, 2]));
  assert.equal((await runOf(wide)).node_urls.length, 2);
  await end(wide);
});

test('what a job names itself is counted alike by the database and by the domain', async () => {
  const wishes = [null, [], [80], [22], [80, 22], [1, 2, 3]].flatMap((ports) =>
    [null, sshkey].map((key) => ({ ports, sshkey: key })),
  );
  const rows = await database.query<{ count: number }>(
    'select flotilla_named_ports(c) as count from jsonb_array_elements($1::jsonb) with ordinality as e(c, n) order by n',
    [JSON.stringify(wishes)],
  );
  assert.deepEqual(
    rows.map(({ count }) => count),
    wishes.map(namedPortCount),
  );
});
