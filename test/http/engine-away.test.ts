// A node whose container engine does not answer: heard, not ready, with the reason; nothing new goes there until it is back.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Static } from 'typebox';
import type { NodeEventList } from '../../src/protocol/node.ts';
import { aJob, anInventory } from '../support/builders.ts';
import { createHandNodes, endsWith, runsNow } from '../support/hand-nodes.ts';
import { eventually, startTestServer } from '../support/server.ts';

const server = await startTestServer();
const { admin } = server;
const nodes = createHandNodes(server);
after(() => nodes.close());

const note = 'The Docker Engine does not answer.';

test('an engine that is away takes no work, keeps what it has, and says why; it takes work again when it is back', async () => {
  const node = await nodes.connect();
  const kept = await nodes.place(node);
  await node.agent.report(kept.order, runsNow);
  node.agent.send({ type: 'inventory', inventory: { ...anInventory(), engine_note: note } });
  const shown = await eventually('not ready', async () => {
    const seen = await nodes.get(node);
    return seen.status === 'not_ready' && seen;
  });
  assert.equal(shown.status_reason, note);
  const { total } = await admin.ask<{ total: number }>('GET', '/v1/nodes?filter[status]=not_ready');
  assert.equal(total, 1);

  const waiting = await admin.createJob(aJob({ allowed_region_codes: [node.region] }));
  await eventually(
    'a reason',
    async () => (await admin.getJob(waiting.uuid)).pending_reason?.code === 'nodes_unavailable',
  );
  await sleep(300);
  assert.equal((await admin.getJob(waiting.uuid)).status, 'PENDING');
  await node.agent.report(kept.order, endsWith(3));
  assert.equal((await admin.getJob(kept.job.uuid)).status, 'FAILED');

  node.agent.send({ type: 'inventory', inventory: { ...anInventory(), engine_note: null } });
  const { runs } = await node.agent.next('desired');
  assert.equal(runs[0]?.job_uuid, waiting.uuid);
  assert.deepEqual([(await nodes.get(node)).status, (await nodes.get(node)).status_reason], ['ready', null]);
  const { data } = await admin.ask<Static<typeof NodeEventList>>('GET', `/v1/nodes/${node.id}/events`);
  assert.deepEqual(
    data.slice(0, 2).map(({ kind, detail }) => [kind, detail]),
    [
      ['engine_back', {}],
      ['engine_away', { reason: note }],
    ],
  );
});

test('an engine that is away when its agent says hello is not ready from the start', async () => {
  const node = await nodes.connect();
  node.agent.hello({ inventory: { ...anInventory(), engine_note: note } });
  await eventually('not ready', async () => (await nodes.get(node)).status === 'not_ready');
});
