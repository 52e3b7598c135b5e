// Loss of nodes on real SQL: what counts as silence, over jumps of the database's clock, new leaders and half the fleet.
import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import type { Hints } from '../../src/db/hints.ts';
import { renewLeases } from '../../src/db/node-leases.ts';
import type { ListEnvelope } from '../../src/protocol/list.ts';
import type { Node, NodeEvent } from '../../src/protocol/node.ts';
import { NodeLoss } from '../../src/scheduler/node-loss.ts';
import { type ANode, aJob, aNode } from '../support/builders.ts';
import { place, report, running } from '../support/runs.ts';
import { setSqlClock, startTestServer } from '../support/server.ts';

const server = await startTestServer({ hasScheduler: false });
const { admin, database } = server;
const leadership = server.leadership ?? assert.fail('the test leads');
/** Losing a hint costs time, never truth: here all are lost. */
const hints: Hints = { publish() {}, subscribe: () => () => {}, close: async () => {} };

const lostAfterMs = 300_000;
const leaseMs = 15_000;
const lookMs = 5_000;
/** How far both clocks are ahead of the real ones, and the database's beyond that. */
let aheadMs = 0;
let jumpMs = 0;

const moveClock = () => setSqlClock(server, aheadMs + jumpMs);

function aLeader(): NodeLoss {
  const monotonicNow = () => performance.now() + aheadMs;
  const actor = { kind: 'test' };
  return new NodeLoss({ database, hints, monotonicNow, leadership, actor, lostAfterMs });
}

/** Time passes for both clocks, look by look; the agents of `heard` send their heartbeats. */
async function pass(leader: NodeLoss, spanMs: number, heard: readonly ANode[] = []): Promise<void> {
  for (let passedMs = 0; passedMs < spanMs; passedMs += lookMs) {
    aheadMs += lookMs;
    await moveClock();
    if (heard.length > 0) await renewLeases(database, { nodeIds: heard.map(({ id }) => id), leaseMs });
    await leader.review();
  }
}

/**
 * The test's leadership moves with the clock, as a real leader's would; the server's scheduler takes one that has run
 * out or lasts too long, so it is never further away than before.
 */
async function jump(byMs: number): Promise<void> {
  jumpMs += byMs;
  const moveLeadership = () =>
    database.query("update leaderships set expires_at = expires_at + $1 * interval '1 millisecond'", [byMs]);
  if (byMs < 0) await moveLeadership();
  await moveClock();
  if (byMs > 0) await moveLeadership();
}

/** A node whose last heartbeat was just now. */
async function aHeardNode(): Promise<ANode> {
  const node = await aNode(server);
  await renewLeases(database, { nodeIds: [node.id], leaseMs });
  return node;
}

/** A running job on the node. */
async function aJobOn(node: ANode, fields: Parameters<typeof aJob>[0] = {}) {
  const job = await admin.createJob(aJob({ max_timeout_run_ms: 86_400_000, ...fields }));
  const run = await place(server, job.uuid, node.id);
  await report(server, run, running);
  return job;
}

const statusOf = async ({ id }: ANode) => (await admin.ask<Node>('GET', `/v1/nodes/${id}`)).status;
const statusesOf = (nodes: readonly ANode[]) => Promise.all(nodes.map(statusOf));

async function eventsOf({ id }: ANode): Promise<string[]> {
  const path = `/v1/nodes/${id}/events?sort=created_at`;
  return (await admin.ask<ListEnvelope<NodeEvent>>('GET', path)).data.map(({ kind }) => kind);
}

afterEach(async () => {
  await jump(-jumpMs);
  await database.query("update nodes set status = 'offline', changed_in = pg_current_xact_id()");
});

test('silence: unreachable after the lease, lost after the whole time, and then its runs are given up', async () => {
  const leader = aLeader();
  const [silent, other] = [await aHeardNode(), await aHeardNode()];
  const once = await aJobOn(silent);
  const again = await aJobOn(silent, { max_retry_count: 1 });
  const service = { task: 'PERSISTENT', max_timeout_run_ms: null };
  const replaced = await aJobOn(silent, { ...service, on_node_lost: 'replace' });
  const ended = await aJobOn(silent, service);
  await pass(leader, 10_000, [other]);
  assert.deepEqual(await statusesOf([silent, other]), ['ready', 'ready']);
  await pass(leader, 10_000, [other]);
  assert.deepEqual(await statusesOf([silent, other]), ['unreachable', 'ready']);
  await pass(leader, 270_000, [other]);
  assert.equal((await admin.getJob(once.uuid)).status, 'RUNNING');
  await pass(leader, 25_000, [other]);
  assert.deepEqual(await statusesOf([silent, other]), ['lost', 'ready']);
  const jobs = await Promise.all([once, again, replaced, ended].map(({ uuid }) => admin.getJob(uuid)));
  assert.deepEqual(
    jobs.map(({ status }) => status),
    ['FAILED', 'PENDING', 'PENDING', 'FAILED'],
  );
  assert.deepEqual(
    [jobs[0]?.status_detail, jobs[3]?.status_detail],
    [{ code: 'node_lost' }, { code: 'node_lost' }],
  );
  assert.deepEqual(await eventsOf(silent), ['ready', 'unreachable', 'lost']);
});

test('the database’s clock jumps forward by a day: no node is even unreachable, and none is lost', async () => {
  const leader = aLeader();
  const nodes = [await aHeardNode(), await aHeardNode(), await aHeardNode()];
  const job = await aJobOn(nodes[0] ?? assert.fail());
  await pass(leader, 10_000, nodes);
  await jump(86_400_000);
  await leader.review();
  assert.deepEqual(await statusesOf(nodes), ['ready', 'ready', 'ready']);
  await pass(leader, 60_000, nodes);
  assert.deepEqual(await statusesOf(nodes), ['ready', 'ready', 'ready']);
  assert.equal((await admin.getJob(job.uuid)).status, 'RUNNING');
});

test('a forward jump does not shorten the time that a silent node has', async () => {
  const leader = aLeader();
  const [silent, other] = [await aHeardNode(), await aHeardNode()];
  await pass(leader, 100_000, [other]);
  assert.equal(await statusOf(silent), 'unreachable');
  await jump(86_400_000);
  await pass(leader, 280_000, [other]);
  assert.equal(await statusOf(silent), 'unreachable');
});

test('the database’s clock jumps back by a day: who is silent is found out all the same', async () => {
  const leader = aLeader();
  const [silent, other] = [await aHeardNode(), await aHeardNode()];
  await pass(leader, 10_000, [silent, other]);
  await jump(-86_400_000);
  await pass(leader, 25_000, [other]);
  assert.deepEqual(await statusesOf([silent, other]), ['unreachable', 'ready']);
  await pass(leader, 305_000, [other]);
  assert.deepEqual(await statusesOf([silent, other]), ['lost', 'ready']);
});

test('after an outage of server or database every node has a whole lease, and who is silent the whole time', async () => {
  const before = aLeader();
  const [silent, back] = [await aHeardNode(), await aHeardNode()];
  await pass(before, 200_000, [back]);
  assert.deepEqual(await statusesOf([silent, back]), ['unreachable', 'ready']);
  // Nobody leads, nobody hears: a restart of the server, or a database that is away.
  aheadMs += 3_600_000;
  await moveClock();
  const heir = aLeader();
  await heir.review();
  assert.deepEqual(await statusesOf([silent, back]), ['unreachable', 'ready']);
  await pass(heir, 10_000);
  assert.equal(await statusOf(back), 'ready', 'its agent may still be on its way');
  await pass(heir, 270_000, [back]);
  assert.deepEqual(await statusesOf([silent, back]), ['unreachable', 'ready']);
  await pass(heir, 30_000, [back]);
  assert.deepEqual(await statusesOf([silent, back]), ['lost', 'ready']);
});

test('a leader that was paused does not judge by the time it slept', async () => {
  const leader = aLeader();
  const [silent, other] = [await aHeardNode(), await aHeardNode()];
  await pass(leader, 30_000, [other]);
  aheadMs += 3_600_000;
  await moveClock();
  await leader.review();
  assert.deepEqual(await statusesOf([silent, other]), ['unreachable', 'ready']);
  await pass(leader, 250_000, [other]);
  assert.equal(await statusOf(silent), 'unreachable');
});

test('more than 30 % of the nodes silent within a minute are no loss; fewer are', async () => {
  const leader = aLeader();
  const nodes = await Promise.all(Array.from({ length: 10 }, aHeardNode));
  await pass(leader, 10_000, nodes);
  const heard = nodes.slice(4);
  await pass(leader, 900_000, heard);
  assert.deepEqual(await statusesOf(nodes.slice(0, 4)), Array(4).fill('unreachable'));
  // Two are heard again; 20 % are silent now, and get the whole time from here.
  const revived = nodes.slice(2, 4).map(({ id }) => id);
  await database.query(
    "update nodes set status = 'ready', changed_in = pg_current_xact_id() where id = any ($1::uuid[])",
    [revived],
  );
  await pass(leader, 290_000, nodes.slice(2));
  assert.deepEqual(await statusesOf(nodes.slice(0, 2)), ['unreachable', 'unreachable']);
  await pass(leader, 20_000, nodes.slice(2));
  assert.deepEqual(await statusesOf(nodes.slice(0, 3)), ['lost', 'lost', 'ready']);
});

test('what an earlier leader began to give up, the next one finishes', async () => {
  const node = await aHeardNode();
  const job = await aJobOn(node);
  await database.query("update nodes set status = 'lost', changed_in = pg_current_xact_id() where id = $1", [
    node.id,
  ]);
  await aLeader().review();
  assert.deepEqual((await admin.getJob(job.uuid)).status_detail, { code: 'node_lost' });
});

test('a node that is heard at the last moment is not lost', async () => {
  const leader = aLeader();
  const [silent, other] = [await aHeardNode(), await aHeardNode()];
  await pass(leader, 295_000, [other]);
  assert.equal(await statusOf(silent), 'unreachable');
  // Its lease is renewed, though nobody has called it ready yet.
  await pass(leader, 20_000, [silent, other]);
  assert.equal(await statusOf(silent), 'unreachable');
  assert.deepEqual(await eventsOf(silent), ['ready', 'unreachable']);
});
