// Readiness for load balancers, and a replica that stops: requests end, agents go elsewhere, another replica leads.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { serverStopsCode } from '../../src/protocol/agent-messages.ts';
import { HandAgent, UpgradeRefused } from '../support/agent.ts';
import { aJob, aNode, anInventory } from '../support/builders.ts';
import { eventually, startTestServer } from '../support/server.ts';

const server = await startTestServer();
const { admin, database, postgres } = server;
await eventually(
  'a leader',
  async () => (await database.query("select from leaderships where name = 'scheduler'")).length > 0,
);

async function health(url: string, path: string): Promise<{ code: number; status: string; closes: boolean }> {
  const response = await fetch(`${url}${path}`, { signal: AbortSignal.timeout(10_000) });
  const { status } = (await response.json()) as { status: string };
  return { code: response.status, status, closes: response.headers.get('connection') === 'close' };
}

async function leader(): Promise<{ holder: string; epoch: number }> {
  const [row] = await database.query<{ holder: string; epoch: number }>(
    "select holder, epoch from leaderships where name = 'scheduler'",
  );
  return row ?? assert.fail('nobody leads');
}

test('ready with a database, alive without one', async () => {
  for (const path of ['/livez', '/readyz', '/healthz'])
    assert.deepEqual(await health(server.url, path), { code: 200, status: 'ok', closes: false });
  await postgres.suspend();
  const askedAt = performance.now();
  const answers = await Promise.all(
    ['/readyz', '/healthz', '/livez'].map((path) => health(server.url, path)),
  );
  const tookMs = performance.now() - askedAt;
  await postgres.resume();
  assert.deepEqual(
    answers.map(({ code, status }) => [code, status]),
    [
      [503, 'database_away'],
      [503, 'database_away'],
      [200, 'ok'],
    ],
  );
  assert.ok(tookMs < 4_000, `${tookMs} ms: sooner than balancers give up`);
  await eventually('ready again', async () => (await health(server.url, '/readyz')).code === 200);
});

test('while it drains a replica serves, says that it is not ready, and keeps no connection', async () => {
  const replica = await server.startReplica({ drainDelayMs: 1_500 });
  const there = server.client(server.adminKey, replica.url);
  const stopping = replica.stop();
  assert.deepEqual(await health(replica.url, '/readyz'), { code: 503, status: 'stopping', closes: true });
  assert.equal((await health(replica.url, '/livez')).code, 200);
  const { uuid } = await there.createJob(aJob());
  assert.equal((await there.getJob(uuid)).uuid, uuid);
  await stopping;
  await assert.rejects(fetch(`${replica.url}/livez`), 'nobody listens any more');
});

/** A create whose body is held back; `send` lets it go. */
function slowCreate(url: string): { send(): void; answer: Promise<IncomingMessage> } {
  const body = JSON.stringify(aJob());
  const headers = { ...admin.sign('POST', '/v1/jobs', { raw: body }), 'content-type': 'application/json' };
  const request = httpRequest(`${url}/v1/jobs`, {
    method: 'POST',
    headers: { ...headers, 'content-length': Buffer.byteLength(body) },
  });
  request.write(body.slice(0, 10));
  const answer = once(request, 'response').then(([response]) => response as IncomingMessage);
  return { send: () => request.end(body.slice(10)), answer };
}

test('requests under way at a stop get their answers', async () => {
  const replica = await server.startReplica();
  const there = server.client(server.adminKey, replica.url);
  const node = await aNode(server, { cpus: 4, region: 'ap-south-1' });
  const job = await admin.createJob(aJob({ allowed_region_codes: ['ap-south-1'] }));
  await eventually('placed', async () => (await admin.getJob(job.uuid)).status === 'ASSIGNED');
  const slow = slowCreate(replica.url);
  // Nobody plays the node's agent, so that its teardown does not end.
  const waiting = there.stopJob(job.uuid, { wait_ms: 60_000 });
  await eventually('the stop', async () => (await admin.getJob(job.uuid)).status === 'CANCELLED');
  await sleep(100);
  const stoppedAt = performance.now();
  const stopping = replica.stop();
  const stopped = await waiting;
  assert.deepEqual([stopped.status, stopped.teardown?.state], ['CANCELLED', 'requested']);
  assert.ok(performance.now() - stoppedAt < 5_000, 'who waits is answered at once');
  await sleep(500);
  slow.send();
  const answer = await slow.answer;
  answer.resume();
  assert.equal(answer.statusCode, 201);
  await stopping;
  assert.ok(node.id);
});

test('agents are sent on at once, and a replica that stops takes no others', async () => {
  const replica = await server.startReplica({ drainDelayMs: 1_500 });
  const { key } = await admin.ask<{ key: { public_key: string; secret_key: string } }>('POST', '/v1/nodes', {
    body: { name: 'sent-on' },
  });
  const client = server.client({ publicKey: key.public_key, secretKey: key.secret_key }, replica.url);
  const agent = await HandAgent.dial(client);
  await agent.greet({ inventory: anInventory() });
  const stopping = replica.stop();
  assert.equal(await agent.closed, serverStopsCode);
  await assert.rejects(HandAgent.dial(client), (error: Error) => {
    assert.ok(error instanceof UpgradeRefused);
    return error.status === 503;
  });
  await stopping;
});

test('a leader that stops hands over before its last request has ended', async () => {
  const { holder: first } = await leader();
  const replica = await server.startReplica();
  await eventually('the new one to lead', async () => {
    const { holder } = await leader();
    if (holder === first)
      await database.query("update leaderships set expires_at = now() - interval '1 hour'");
    return holder !== first;
  });
  const slow = slowCreate(replica.url);
  await sleep(100);
  const stopping = replica.stop();
  // Far sooner than its lease would end.
  await eventually('the first one to lead again', async () => (await leader()).holder === first, 2_500);
  slow.send();
  const answer = await slow.answer;
  answer.resume();
  assert.equal(answer.statusCode, 201);
  await stopping;
});
