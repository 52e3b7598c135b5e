// Two lives of one agent on two replicas: what the earlier one said and nobody heard yet counts no more.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import type { RunEvent } from '../../src/protocol/agent-messages.ts';
import type { Node } from '../../src/protocol/node.ts';
import { HandAgent, released } from '../support/agent.ts';
import { aJob } from '../support/builders.ts';
import type { Client } from '../support/client.ts';
import { eventually, startTestServer } from '../support/server.ts';

const server = await startTestServer();
const { admin } = server;
const second = await server.startReplica();
const agents: HandAgent[] = [];
after(() => {
  for (const agent of agents) agent.close();
});

const neverStarted: RunEvent = {
  ...{ kind: 'exited', exit_code: null, exit_signal: null, is_oom_killed: false, ended_ms_ago: 0 },
  ...{ ran_ms: null, error: { code: 'image_not_found', message: 'It was not found.' }, last_log_lines: '' },
};
const running: RunEvent = {
  ...{ kind: 'running', started_ms_ago: 5, image_digest: 'sha256:0', image_size_bytes: 7, ports: [] },
};

async function dial(client: Client): Promise<HandAgent> {
  const agent = await HandAgent.dial(client);
  agents.push(agent);
  return agent;
}

test('reports of an earlier life change nothing, and are sent again by one that lives', async () => {
  const body = { name: 'twice' };
  const node = await admin.ask<Node & { key: { public_key: string; secret_key: string } }>(
    'POST',
    '/v1/nodes',
    { body },
  );
  const key = { publicKey: node.key.public_key, secretKey: node.key.secret_key };
  const earlier = await dial(server.client(key));
  await earlier.greet();
  const job = await admin.createJob(aJob({ max_retry_count: 0 }));
  const [order] = (await earlier.next('desired')).runs;
  assert.ok(order);

  const later = await dial(server.client(key, second.url));
  assert.deepEqual(
    (await later.greet()).runs.map(({ run_uuid }) => run_uuid),
    [order.run_uuid],
  );
  await later.report(order, running);
  for (const [index, event] of [neverStarted, released].entries())
    earlier.send({ type: 'report', sequence: 1 + index, ...runOf(order), event });
  await earlier.closed;
  assert.ok(!earlier.received.some(({ type }) => type === 'report_ack'));
  assert.equal((await admin.getJob(job.uuid)).status, 'RUNNING');

  const again = await dial(server.client(key));
  await again.greet();
  await again.report(order, neverStarted);
  await again.report(order, released);
  await eventually('the end to be told', async () => (await admin.getJob(job.uuid)).status === 'FAILED');
});

function runOf({ run_uuid, attempt }: { run_uuid: string; attempt: number }) {
  return { run_uuid, attempt };
}
