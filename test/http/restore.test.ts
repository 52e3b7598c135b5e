// A restored database: nodes wait for the admin's word, orphans are shown, and what was given up is killed.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { raiseGeneration } from '../../src/db/node-restore.ts';
import { applyRunEvents } from '../../src/db/run-events.ts';
import { newId } from '../../src/main/ids.ts';
import type { ListEnvelope } from '../../src/protocol/list.ts';
import type { CreatedNode, Node, NodeEvent } from '../../src/protocol/node.ts';
import { regionCodes } from '../../src/protocol/schema.ts';
import { HandAgent } from '../support/agent.ts';
import { aJob } from '../support/builders.ts';
import type { Client } from '../support/client.ts';
import { eventually, startTestServer } from '../support/server.ts';

const server = await startTestServer();
const { admin, database } = server;
const regions: string[] = [...regionCodes];
const agents: HandAgent[] = [];
after(() => {
  for (const agent of agents) agent.close();
});

interface Registered {
  id: string;
  client: Client;
  region: string;
}

async function register(): Promise<Registered> {
  const region = regions.pop() ?? assert.fail('more regions');
  const body = { name: `node-${region}`, region_code: region };
  const { uuid, key } = await admin.ask<CreatedNode>('POST', '/v1/nodes', { body });
  const client = server.client({ publicKey: key.public_key, secretKey: key.secret_key });
  return { id: uuid, client, region };
}

/** The newest connection of the node, and what it was welcomed with. */
async function connect(node: Registered, hello: Parameters<HandAgent['hello']>[0] = {}) {
  const agent = await HandAgent.dial(node.client);
  agents.push(agent);
  await agent.greet(hello);
  const welcome = agent.received.find((message) => message.type === 'welcome');
  assert.ok(welcome);
  return { agent, welcome };
}

const nodeOf = ({ id }: Registered) => admin.ask<Node>('GET', `/v1/nodes/${id}`);
const accept = ({ id }: Registered, body: object = {}) =>
  admin.ask<Node>('PUT', `/v1/nodes/${id}/accept-restore`, { body });

async function eventKinds({ id }: Registered): Promise<string[]> {
  const path = `/v1/nodes/${id}/events?sort=created_at`;
  return (await admin.ask<ListEnvelope<NodeEvent>>('GET', path)).data.map(({ kind }) => kind);
}

function submitTo({ region }: Registered) {
  return admin.createJob(aJob({ allowed_region_codes: [region] }));
}

test('an ordinary hello waits for nothing', async () => {
  const node = await register();
  const { welcome } = await connect(node, { cluster_generation: 0, last_orders: [] });
  assert.deepEqual([welcome.awaits_word, welcome.cluster_generation], [false, 1]);
  const shown = await nodeOf(node);
  assert.deepEqual([shown.status, shown.awaits_restore_word, shown.orphans], ['ready', false, []]);
});

test('an order that the database does not know: the node waits until the word, and then no more', async () => {
  const node = await register();
  const lost = newId();
  const { agent, welcome } = await connect(node, { cluster_generation: 1, last_orders: [lost] });
  assert.equal(welcome.awaits_word, true);
  const shown = await nodeOf(node);
  assert.deepEqual([shown.status, shown.awaits_restore_word, shown.is_cordoned], ['cordoned', true, false]);
  assert.match(shown.status_reason ?? '', /restored.*accept-restore/);
  const job = await submitTo(node);
  await eventually('a reason', async () => (await admin.getJob(job.uuid)).pending_reason);
  assert.equal((await admin.getJob(job.uuid)).status, 'PENDING', 'no new work meanwhile');

  const accepted = await accept(node, { reason: 'looked at it' });
  assert.deepEqual([accepted.status, accepted.awaits_restore_word], ['ready', false]);
  assert.equal((await agent.next('restore_accepted')).cluster_generation, 1);
  assert.equal((await agent.next('desired')).runs[0]?.job_uuid, job.uuid);
  const again = await connect(node, { cluster_generation: 1, last_orders: [lost] });
  assert.equal(again.welcome.awaits_word, false, 'the word covers what was shown');
  const more = await connect(node, { cluster_generation: 1, last_orders: [lost, newId()] });
  assert.equal(more.welcome.awaits_word, true, 'and nothing else');
  assert.deepEqual(await eventKinds(node), [
    ...['registered', 'ready', 'restore_suspected', 'restore_accepted', 'restore_suspected'],
  ]);
});

test('orders that the database knows, whatever became of them, are no sign of a restore', async () => {
  const node = await register();
  const { agent } = await connect(node);
  const job = await submitTo(node);
  const { runs } = await agent.next('desired');
  const order = runs[0] ?? assert.fail('an order');
  const live = await connect(node, { last_orders: [order.run_uuid] });
  assert.equal(live.welcome.awaits_word, false);
  await admin.stopJob(job.uuid);
  await applyRunEvents(
    database,
    [{ runId: order.run_uuid, from: null, event: () => ({ kind: 'node_lost', reason: 'test' }) }],
    { kind: 'test' },
  );
  const over = await connect(node, { last_orders: [order.run_uuid] });
  assert.equal(over.welcome.awaits_word, false);
  const stranger = await register();
  const forged = await connect(stranger, { last_orders: [order.run_uuid] });
  assert.equal(forged.welcome.awaits_word, true, 'a run of another node was never its order');
});

test('an agent that has seen a higher generation knows of a later state', async () => {
  const node = await register();
  assert.equal((await connect(node, { cluster_generation: 7 })).welcome.awaits_word, true);
  await accept(node);
  assert.equal((await connect(node, { cluster_generation: 7 })).welcome.awaits_word, false);
  assert.equal((await connect(node, { cluster_generation: 8 })).welcome.awaits_word, true);
});

test('the word to a node that does not wait changes nothing, and covers nothing that comes later', async () => {
  const node = await register();
  await connect(node);
  await accept(node);
  assert.deepEqual(await eventKinds(node), ['registered', 'ready']);
  assert.equal((await connect(node, { cluster_generation: 2 })).welcome.awaits_word, true);
});

test('containers that the database does not know are shown with the node as long as they are there', async () => {
  const node = await register();
  const { agent } = await connect(node);
  const [one, two] = [newId(), newId()];
  const found = (run_uuid: string, removal_ms: number | null) =>
    ({ run_uuid, attempt: 1, state: 'running', removal_ms }) as const;
  const orphansOf = async () => (await nodeOf(node)).orphans;
  agent.send({ type: 'orphans', containers: [found(one, 900_000)] });
  const [first] = await eventually('the orphan', async () => {
    const orphans = await orphansOf();
    return orphans.length === 1 && orphans;
  });
  assert.ok(first);
  assert.deepEqual([first.run_uuid, first.attempt, first.state], [one, 1, 'running']);
  const keptMs = Date.parse(first.removal_at ?? '') - Date.parse(first.first_seen_at);
  assert.equal(keptMs, 900_000);
  agent.send({ type: 'orphans', containers: [found(one, 890_000), found(two, null)] });
  const both = await eventually('both', async () => {
    const orphans = await orphansOf();
    return orphans.length === 2 && orphans;
  });
  assert.equal(both.find(({ run_uuid }) => run_uuid === one)?.first_seen_at, first.first_seen_at);
  assert.equal(both.find(({ run_uuid }) => run_uuid === two)?.removal_at, null);
  agent.send({ type: 'orphans', containers: [] });
  await eventually('none', async () => (await orphansOf()).length === 0);
});

test('a run that is given up while its agent is connected goes on the kill list by itself', async () => {
  const node = await register();
  const { agent } = await connect(node);
  await submitTo(node);
  const { runs } = await agent.next('desired');
  const order = runs[0] ?? assert.fail('an order');
  await applyRunEvents(
    database,
    [{ runId: order.run_uuid, from: null, event: () => ({ kind: 'node_lost', reason: 'test' }) }],
    { kind: 'test' },
  );
  const kill = await agent.next('kill');
  assert.deepEqual(kill.runs, [{ run_uuid: order.run_uuid, attempt: 1 }]);
});

test('a removal whose hint was lost still ends the connection', async () => {
  const node = await register();
  const { agent } = await connect(node);
  await database.query("update nodes set status = 'removed' where id = $1", [node.id]);
  const { code, message } = await agent.next('refused');
  assert.equal(code, 'node_removed');
  assert.match(message, /removed.*flotilla node register/);
  const late = await HandAgent.dial(node.client);
  agents.push(late);
  late.hello();
  assert.equal((await late.next('refused')).code, 'node_removed');
});

// Last: every node of the server waits after it.
test('a raised generation: every node that was there waits, one that comes later does not', async () => {
  const node = await register();
  const absent = await register();
  const { agent } = await connect(node, { cluster_generation: 1 });
  assert.equal(await raiseGeneration(database), 2);
  const job = await submitTo(node);
  await eventually('a reason', async () => (await admin.getJob(job.uuid)).pending_reason);
  assert.equal((await admin.getJob(job.uuid)).status, 'PENDING', 'also before its agent says hello');
  agent.close();
  const { welcome } = await connect(node, { cluster_generation: 1 });
  assert.deepEqual([welcome.awaits_word, welcome.cluster_generation], [true, 2]);
  await accept(node);
  const back = await connect(node, { cluster_generation: 2 });
  assert.equal(back.welcome.awaits_word, false);
  assert.equal((await connect(absent, { cluster_generation: 1 })).welcome.awaits_word, true);
  assert.equal((await connect(await register())).welcome.awaits_word, false);
});

test('nothing of all this was an error to the program', () => {
  assert.deepEqual(
    server.logLines.filter((line) => /"level":[56]0/.test(line)),
    [],
  );
});
