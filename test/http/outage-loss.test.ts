// An outage of our own is no loss of nodes: PostgreSQL away for longer than a node may be silent, and a restarted server.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Job } from '../../src/protocol/job.ts';
import type { ListEnvelope } from '../../src/protocol/list.ts';
import type { CreatedNode, Node, NodeEvent } from '../../src/protocol/node.ts';
import { HandAgent } from '../support/agent.ts';
import { aJob } from '../support/builders.ts';
import type { Client } from '../support/client.ts';
import { eventually, startTestServer } from '../support/server.ts';

/** Shorter than both outages. */
const lostAfterMs = 3_000;
const outageMs = 8_000;
const server = await startTestServer({ lostAfterMs });
const { admin } = server;
const agents: HandAgent[] = [];
after(() => {
  for (const agent of agents) agent.close();
});

const { uuid: id, key } = await admin.ask<CreatedNode>('POST', '/v1/nodes', { body: { name: 'steady' } });
const client = server.client({ publicKey: key.public_key, secretKey: key.secret_key });

async function connect(
  to: Client,
  containers: { run_uuid: string; attempt: number; state: 'running' }[] = [],
) {
  const agent = await HandAgent.dial(to);
  agents.push(agent);
  const desired = await agent.greet({ containers });
  return { agent, desired };
}

const { agent: firstAgent } = await connect(client);
const submitted = await admin.createJob(aJob());
const [order] = (await firstAgent.next('desired')).runs;
assert.ok(order);
await firstAgent.report(order, {
  ...{ kind: 'running', started_ms_ago: 1, image_digest: null, image_size_bytes: null, ports: [] },
});

/** So that the node has been silent for long when the outage ends, and its agent is heard only after it. */
async function leaseEndsNow(): Promise<void> {
  await server.database.query(
    `update node_leases set last_seen_at = flotilla_now() - interval '14 seconds',
       expires_at = flotilla_now() + interval '2 seconds' where node_id = $1`,
    [id],
  );
}

async function assertNothingLost(through: Client, { uuid }: Job): Promise<void> {
  const job = await through.getJob(uuid);
  assert.deepEqual([job.status, job.status_reason], ['RUNNING', null]);
  assert.equal((await through.ask<Node>('GET', `/v1/nodes/${id}`)).status, 'ready');
  const { data } = await through.ask<ListEnvelope<NodeEvent>>('GET', `/v1/nodes/${id}/events`);
  assert.deepEqual(
    data.filter(({ kind }) => kind === 'lost'),
    [],
  );
}

test('PostgreSQL is away for longer than a node may be silent', async () => {
  assert.equal((await admin.getJob(submitted.uuid)).status, 'RUNNING');
  firstAgent.fallSilent();
  // The hub writes what it heard once a second.
  await sleep(2_500);
  await leaseEndsNow();
  await server.postgres.suspend();
  await sleep(outageMs);
  await server.postgres.resume();
  await eventually('answers', async () => (await admin.send('GET', '/v1/nodes')).status === 200, 30_000);
  await sleep(lostAfterMs);
  firstAgent.send({ type: 'heartbeat' });
  await sleep(2 * lostAfterMs);
  await assertNothingLost(admin, submitted);
});

test('the server is away for longer than a node may be silent, and the agent takes its time to come back', async () => {
  await server.stopReplicas();
  await leaseEndsNow();
  await sleep(outageMs);
  const { url } = await server.startReplica();
  const again = server.client(server.adminKey, url);
  // A node's lease is longer than this; what is lost with it would be lost by now.
  await sleep(2 * lostAfterMs);
  const containers = [{ run_uuid: order.run_uuid, attempt: order.attempt, state: 'running' as const }];
  const { desired } = await connect(server.client(client.key, url), containers);
  assert.deepEqual(
    desired.runs.map((run) => [run.run_uuid, run.desired]),
    [[order.run_uuid, 'run']],
  );
  await sleep(2_000);
  await assertNothingLost(again, submitted);
});
