// Agents' control connections, driven by hand: hello, desired and kill lists, fenced reports, logs, leases and loss.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { newId } from '../../src/main/ids.ts';
import { agentConnectPath, protocolVersion, type RunEvent } from '../../src/protocol/agent-messages.ts';
import type { Node } from '../../src/protocol/node.ts';
import { regionCodes } from '../../src/protocol/schema.ts';
import { HandAgent, released, UpgradeRefused } from '../support/agent.ts';
import { aJob, anInventory } from '../support/builders.ts';
import type { Client } from '../support/client.ts';
import { eventually, startTestServer } from '../support/server.ts';

const server = await startTestServer({ lostAfterMs: 10_000 });
const { admin, database } = server;
const agents: HandAgent[] = [];
after(() => {
  for (const agent of agents) agent.close();
});

const running: RunEvent = {
  ...{ kind: 'running', started_ms_ago: 5, image_digest: 'sha256:0', image_size_bytes: 7, ports: [] },
};
const exited = (code: number): RunEvent => ({
  ...{ kind: 'exited', exit_code: code, exit_signal: null, is_oom_killed: false, ended_ms_ago: 0, ran_ms: 5 },
  ...{ error: null, last_log_lines: code === 0 ? '' : 'boom\n' },
});

interface Registered {
  id: string;
  client: Client;
  region: string;
}

const regions: string[] = [...regionCodes];

/** Each node has a region of its own, so that a test's jobs come to its own node. */
async function register(): Promise<Registered> {
  const region = regions.pop() ?? assert.fail('more regions');
  const body = { name: `node-${region}`, region_code: region };
  const node = await admin.ask<Node & { key: { public_key: string; secret_key: string } }>(
    'POST',
    '/v1/nodes',
    { body },
  );
  const { public_key: publicKey, secret_key: secretKey } = node.key;
  return { id: node.uuid, client: server.client({ publicKey, secretKey }), region };
}

async function dial(node: Registered): Promise<HandAgent> {
  const agent = await HandAgent.dial(node.client);
  agents.push(agent);
  return agent;
}

async function connected() {
  const node = await register();
  const agent = await dial(node);
  await agent.greet();
  return { node, agent };
}

/** A job placed on the node, and the order its agent got. */
async function placed({ node, agent }: { node: Registered; agent: HandAgent }, fields = {}) {
  const body = aJob({ allowed_region_codes: [node.region], container: { env: { A: 'b' } }, ...fields });
  const job = await admin.createJob(body);
  const { runs } = await agent.next('desired');
  const [order] = runs;
  assert.ok(order && runs.length === 1);
  assert.equal(order.job_uuid, job.uuid);
  return { job, order };
}

const nodeOf = (node: Registered) => admin.ask<Node>('GET', `/v1/nodes/${node.id}`);

test('hello is welcomed, the inventory stands on the node, the list of runs is empty', async () => {
  const node = await register();
  assert.deepEqual([(await nodeOf(node)).status, (await nodeOf(node)).last_seen_at], ['offline', null]);
  const agent = await dial(node);
  agent.hello({ inventory: anInventory({ cpus: 12, ramGb: 64, storageGb: 100, gpus: 2 }) });
  const welcome = await agent.next('welcome');
  assert.deepEqual(
    [welcome.protocol, welcome.cluster_uuid, welcome.node_uuid],
    [protocolVersion, server.storage.cluster.id, node.id],
  );
  assert.ok(welcome.heartbeat_ms > 0);
  assert.deepEqual(await agent.next('desired'), { type: 'desired', is_complete: true, runs: [] });
  const shown = await nodeOf(node);
  assert.deepEqual([shown.status, shown.agent_version, shown.ramTotal], ['ready', 'hand', 64]);
  assert.deepEqual(
    [shown.cpus[0]?.num_cores, shown.gpus.length, shown.gpus[0]?.vram_gb_max],
    [12, 2, 25.757],
  );
  assert.ok(shown.last_seen_at);
  agent.send({ type: 'inventory', inventory: anInventory({ cpus: 6 }) });
  await eventually('the new inventory', async () => (await nodeOf(node)).cpus[0]?.num_cores === 6);
});

test('a run from order to release', async () => {
  const both = await connected();
  const { agent } = both;
  const { job, order } = await placed(both, { cpu_count: 1 });
  assert.deepEqual([order.desired, order.status, order.stop, order.attempt], ['run', 'ASSIGNED', null, 1]);
  assert.equal(order.container.env.A, 'b');
  assert.equal(order.container.env.FLOTILLA_JOB_UUID, job.uuid);
  assert.equal((await admin.getJob(job.uuid)).status, 'ASSIGNED');
  await agent.report(order, { kind: 'preparing', progress: null });
  await agent.report(order, running);
  const shown = await admin.getJob(job.uuid);
  assert.equal(shown.status, 'RUNNING');
  assert.ok(shown.started_at);
  const bytes = Buffer.from('hello\n').toString('base64');
  const chunk = { type: 'log', run_uuid: order.run_uuid, attempt: 1, stream: 'stdout', offset: 0 } as const;
  agent.send({ ...chunk, bytes_base64: bytes, position: 'p1' });
  const { offset } = await agent.next('log_ack');
  assert.equal(offset, 6);
  await agent.report(order, exited(3));
  await agent.report(order, released);
  const ended = await admin.getJob(job.uuid);
  assert.equal(ended.status, 'FAILED');
  assert.match(ended.status_reason ?? '', /code 3[\s\S]*boom/);
  const run = await admin.getRun(order.run_uuid);
  assert.deepEqual(
    [run.status, run.exit_code, run.logs, run.image_digest],
    ['FAILED', 3, 'hello\n', 'sha256:0'],
  );
  assert.equal((await nodeOf(both.node)).job_run_count, 0);
});

test('a run that does not end cordons its node with the reason, and is not verified before it is gone', async () => {
  const both = await connected();
  const { agent, node } = both;
  const { job, order } = await placed(both);
  await agent.report(order, { ...running, container_id: 'c0ffee' });
  await admin.stopJob(job.uuid);
  const reason = 'A process of its container lives on after KILL.';
  await agent.report(order, { kind: 'teardown', step: 'killed', after_ms: 5 });
  await agent.report(order, { kind: 'teardown', step: 'stuck', reason });
  const shown = await nodeOf(node);
  assert.equal(shown.is_cordoned, true);
  assert.equal(shown.status_reason, `Job run ${order.run_uuid} does not end: ${reason}`);
  assert.equal((await admin.getJob(job.uuid)).teardown?.state, 'killed');
  await agent.report(order, released);
  assert.equal((await admin.getJob(job.uuid)).teardown?.state, 'verified');
  assert.equal((await nodeOf(node)).is_cordoned, true, 'until somebody has looked at it');
});

test('another node cannot cordon one with a run that is not its own', async () => {
  const [mine, stranger] = [await connected(), await connected()];
  const { order } = await placed(mine);
  await stranger.agent.report(order, { kind: 'teardown', step: 'stuck', reason: 'x' });
  const cordoned = [mine, stranger].map(async ({ node }) => (await nodeOf(node)).is_cordoned);
  assert.deepEqual(await Promise.all(cordoned), [false, false]);
});

test('a stop is pushed to the agent at once', async () => {
  const both = await connected();
  const { job, order } = await placed(both);
  await both.agent.report(order, running);
  await admin.stopJob(job.uuid, { stop_grace_ms: 4_000 });
  // The safety net looks every 5 s; the push must not need it.
  const { runs, is_complete } = await both.agent.next('desired', 2_000);
  assert.equal(is_complete, false);
  assert.deepEqual(
    runs.map((run) => [run.run_uuid, run.desired, run.stop?.grace_ms]),
    [[order.run_uuid, 'stop', 4_000]],
  );
  await both.agent.report(order, { kind: 'teardown', step: 'signalled' });
  assert.equal((await admin.getJob(job.uuid)).teardown?.state, 'signalled');
  await both.agent.report(order, released);
  assert.equal((await admin.getJob(job.uuid)).teardown?.state, 'verified');
});

test('an agent that dials again gets every run that is still its own', async () => {
  const both = await connected();
  const { order } = await placed(both);
  both.agent.close();
  const again = await dial(both.node);
  const desired = await again.greet({
    containers: [{ run_uuid: order.run_uuid, attempt: order.attempt, state: 'running' }],
  });
  assert.deepEqual(
    desired.runs.map((run) => run.run_uuid),
    [order.run_uuid],
  );
  assert.equal(
    again.received.some((message) => message.type === 'kill'),
    false,
  );
});

test('a report on another node’s run is acknowledged and changes nothing', async () => {
  const owner = await connected();
  const stranger = await connected();
  const { job, order } = await placed(owner);
  const before = await admin.getRun(order.run_uuid);
  for (const event of [running, exited(0), released]) await stranger.agent.report(order, event);
  const chunk = { type: 'log', run_uuid: order.run_uuid, attempt: 1, stream: 'stdout', offset: 0 } as const;
  stranger.agent.send({ ...chunk, bytes_base64: Buffer.from('forged').toString('base64'), position: 'p' });
  await stranger.agent.report({ run_uuid: newId(), attempt: 1 }, running);
  assert.deepEqual(await admin.getRun(order.run_uuid), before);
  assert.equal((await admin.getJob(job.uuid)).status, 'ASSIGNED');
  assert.ok(
    server.logLines.some((line) => line.includes('not its own')),
    'it is in the log',
  );
});

test('reports of another attempt change nothing', async () => {
  const both = await connected();
  const { job, order } = await placed(both);
  await both.agent.report({ ...order, attempt: 2 }, running);
  await both.agent.report({ ...order, attempt: 2 }, exited(0));
  assert.equal((await admin.getJob(job.uuid)).status, 'ASSIGNED');
});

test('a report that is repeated after a reconnect is stored once', async () => {
  const both = await connected();
  const { order } = await placed(both);
  await both.agent.report(order, running);
  await both.agent.report(order, exited(0));
  const before = await admin.getRun(order.run_uuid);
  const again = await dial(both.node);
  await again.greet();
  for (const event of [running, exited(1)]) await again.report(order, event);
  assert.deepEqual(await admin.getRun(order.run_uuid), before);
});

test('other protocols are refused with a sentence', async () => {
  const node = await register();
  for (const protocol of [protocolVersion + 1, protocolVersion - 2]) {
    const agent = await dial(node);
    agent.hello({ protocol });
    const { code, message } = await agent.next('refused');
    assert.equal(code, 'protocol_unsupported');
    assert.match(message, /update/);
    assert.equal(await agent.closed, 1008);
  }
  assert.equal((await nodeOf(node)).status, 'offline');
});

test('what no agent sends ends the connection', async () => {
  const node = await register();
  for (const text of [
    '',
    'x',
    '[]',
    '{"type":"hello"}',
    '{"type":"report","sequence":0}',
    `{"type":"${'x'.repeat(9_999)}"}`,
  ]) {
    const agent = await dial(node);
    agent.sendText(text);
    assert.equal((await agent.next('refused')).code, 'malformed_message');
    assert.equal(await agent.closed, 1008);
  }
});

async function refusedUpgrade(dialling: Promise<HandAgent>): Promise<UpgradeRefused> {
  const refusal = await dialling.then(
    () => assert.fail('the upgrade was accepted'),
    (error: unknown) => error,
  );
  assert.ok(refusal instanceof UpgradeRefused, String(refusal));
  return refusal;
}

test('the upgrade needs the signature of a node’s key, fresh every time', async () => {
  const node = await register();
  const consumer = server.client(await server.createKey({ preset: 'admin' }));
  const notANode = await refusedUpgrade(HandAgent.dial(consumer));
  assert.deepEqual([notANode.status, notANode.code], [403, 'permission_denied']);
  const unsigned = await refusedUpgrade(HandAgent.dial(node.client, {}));
  assert.deepEqual([unsigned.status, unsigned.code], [401, 'signature_invalid']);
  const headers = node.client.sign('GET', agentConnectPath);
  const agent = await HandAgent.dial(node.client, headers);
  agents.push(agent);
  const reused = await refusedUpgrade(HandAgent.dial(node.client, headers));
  assert.deepEqual([reused.status, reused.code], [401, 'nonce_reused']);
  const old = await refusedUpgrade(
    HandAgent.dial(node.client, node.client.sign('GET', agentConnectPath, { timeMs: Date.now() - 400_000 })),
  );
  assert.equal(old.code, 'clock_skew');
});

test('the newest connection of a node wins', async () => {
  const both = await connected();
  const newer = await dial(both.node);
  await newer.greet();
  assert.equal(await both.agent.closed, 1001);
  const { job } = await placed({ node: both.node, agent: newer });
  assert.equal((await admin.getJob(job.uuid)).status, 'ASSIGNED');
});

/** The hub writes leases once a second: until the last message heard of the node is in its lease. */
async function leaseSettles(node: Registered): Promise<void> {
  let seen: string | null = 'never';
  await eventually('no new lease', async () => {
    const before = seen;
    seen = (await nodeOf(node)).last_seen_at;
    if (before === seen) return true;
    await sleep(2_000);
    return false;
  });
}

/** As if nothing had been heard of the node for so long, by the database's clock. */
async function fallsSilent(
  { node, agent }: { node: Registered; agent: HandAgent },
  silentMs: number,
): Promise<void> {
  agent.fallSilent();
  await leaseSettles(node);
  await database.query(
    `update node_leases set last_seen_at = flotilla_now() - $2 * interval '1 millisecond',
       expires_at = flotilla_now() - interval '1 millisecond' where node_id = $1`,
    [node.id, silentMs],
  );
}

test('a silent node is unreachable after its lease, and takes work again when it is heard', async () => {
  const both = await connected();
  await fallsSilent(both, 0);
  await eventually('unreachable', async () => (await nodeOf(both.node)).status === 'unreachable');
  const job = await admin.createJob(aJob({ allowed_region_codes: [both.node.region] }));
  await sleep(400);
  assert.equal((await admin.getJob(job.uuid)).status, 'PENDING', 'no new work');
  both.agent.send({ type: 'heartbeat' });
  await eventually('ready', async () => (await nodeOf(both.node)).status === 'ready');
  const { runs } = await both.agent.next('desired');
  assert.equal(runs[0]?.job_uuid, job.uuid);
});

test('a lost node’s runs fail with node_lost; when it returns its kill list comes first', async () => {
  const both = await connected();
  const { job, order } = await placed(both);
  await both.agent.report(order, running);
  await fallsSilent(both, 3_600_000);
  await eventually('lost', async () => (await nodeOf(both.node)).status === 'lost');
  const lost = await eventually('failed', async () => {
    const now = await admin.getJob(job.uuid);
    return now.status === 'FAILED' && now;
  });
  assert.deepEqual(lost.status_detail, { code: 'node_lost' });
  const run = await admin.getRun(order.run_uuid);
  assert.deepEqual([run.status, run.status_detail?.code], ['FAILED', 'node_lost']);
  const again = await dial(both.node);
  again.hello({ containers: [{ run_uuid: order.run_uuid, attempt: order.attempt, state: 'running' }] });
  await again.next('desired');
  assert.deepEqual(again.received.map((message) => message.type).slice(0, 3), ['welcome', 'kill', 'desired']);
  const kill = again.received.find((message) => message.type === 'kill');
  const { run_uuid, attempt } = order;
  assert.deepEqual(kill?.runs, [{ run_uuid, attempt, container_id: null }]);
  assert.equal((await nodeOf(both.node)).status, 'ready');
  await again.report(order, exited(0));
  assert.equal((await admin.getJob(job.uuid)).status, 'FAILED', 'the decision stands');
});

test('a stop while the node is away stands; the node gets the order to stop when it returns', async () => {
  const both = await connected();
  const { job, order } = await placed(both);
  await both.agent.report(order, running);
  both.agent.close();
  await both.agent.closed;
  const stopped = await admin.stopJob(job.uuid);
  assert.deepEqual([stopped.status, stopped.teardown?.state], ['CANCELLED', 'requested']);
  const again = await dial(both.node);
  const { runs } = await again.greet({
    containers: [{ run_uuid: order.run_uuid, attempt: order.attempt, state: 'running' }],
  });
  assert.deepEqual(
    runs.map((run) => [run.run_uuid, run.desired]),
    [[order.run_uuid, 'stop']],
  );
  assert.ok((runs[0]?.stop?.requested_ms_ago ?? -1) >= 0);
});

test('no lease, report or log was lost for an error of ours', async () => {
  assert.deepEqual(
    server.logLines.filter((line) => /"level":[56]0/.test(line)),
    [],
  );
  const [row] = await database.query<{ total: number }>('select count(*) as total from node_leases');
  assert.ok((row?.total ?? 0) > 0);
});
