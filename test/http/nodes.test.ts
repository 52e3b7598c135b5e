// Maintenance of nodes over the API: cordon, uncordon, drain, remove, and who did it and why.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { defaultRetention, enforceRetention } from '../../src/db/retention.ts';
import { newId } from '../../src/main/ids.ts';
import type { Job } from '../../src/protocol/job.ts';
import type { ListEnvelope } from '../../src/protocol/list.ts';
import type { CreatedNode, Node, NodeEvent } from '../../src/protocol/node.ts';
import { regionCodes } from '../../src/protocol/schema.ts';
import { HandAgent, UpgradeRefused } from '../support/agent.ts';
import { type ANode, aJob, aNode } from '../support/builders.ts';
import { exited, released, report, running } from '../support/runs.ts';
import { eventually, setSqlClock, startTestServer } from '../support/server.ts';

const server = await startTestServer();
const { admin, database } = server;
const regions: string[] = [...regionCodes];
const agents: HandAgent[] = [];
after(() => {
  for (const agent of agents) agent.close();
});

/** A node alone in its region, and jobs that may go nowhere else. */
async function aPlace() {
  const region = regions.pop() ?? assert.fail('more regions');
  const node = await aNode(server, { region });
  const submit = (fields: Parameters<typeof aJob>[0] = {}) =>
    admin.createJob(aJob({ allowed_region_codes: [region], ...fields }));
  return { region, node, submit };
}

const nodeOf = ({ id }: { id: string }) => admin.ask<Node>('GET', `/v1/nodes/${id}`);
const change = ({ id }: { id: string }, verb: string, body: object = {}) =>
  admin.ask<Node>('PUT', `/v1/nodes/${id}/${verb}`, { body });
const refused = ({ id }: { id: string }, verb: string, body: object = {}) =>
  admin.refusal('PUT', `/v1/nodes/${id}/${verb}`, { body });

async function eventsOf({ id }: { id: string }): Promise<NodeEvent[]> {
  const path = `/v1/nodes/${id}/events?sort=created_at`;
  return (await admin.ask<ListEnvelope<NodeEvent>>('GET', path)).data;
}

const reload = (job: Job) => admin.getJob(job.uuid);

async function runOf(job: Job, attempt = 1) {
  return eventually(`attempt ${attempt} of ${job.title}`, async () => {
    const { data } = await admin.listRuns({ 'filter[job_uuid]': job.uuid });
    const run = data.find((it) => it.attempt === attempt);
    return run && { id: run.uuid, nodeId: run.node_uuid, attempt };
  });
}

async function startedOn(job: Job) {
  const run = await runOf(job);
  await report(server, run, running);
  return run;
}

/** A second node of the region, so that what is moved has a place to go. */
const another = (region: string): Promise<ANode> => aNode(server, { region });

test('a cordoned node takes no new work, goes on with what it has, and says why', async () => {
  const { node, submit } = await aPlace();
  const first = await submit();
  const run = await startedOn(first);
  const cordoned = await change(node, 'cordon', { reason: 'noisy fan' });
  assert.deepEqual(
    [cordoned.status, cordoned.status_reason, cordoned.is_cordoned, cordoned.drain],
    ['cordoned', 'noisy fan', true, null],
  );
  const listed = await admin.ask<ListEnvelope<Node>>('GET', '/v1/nodes?filter[status]=cordoned,draining');
  assert.ok(listed.data.some(({ uuid }) => uuid === node.id));
  const second = await submit();
  const waiting = await eventually('a reason', async () => {
    const job = await reload(second);
    return job.pending_reason !== null && job;
  });
  assert.equal(waiting.status, 'PENDING');
  assert.equal((await reload(first)).status, 'RUNNING');
  await report(server, run, exited(0));
  assert.equal((await reload(first)).status, 'COMPLETED');
  const ready = await change(node, 'uncordon');
  assert.deepEqual([ready.status, ready.status_reason, ready.is_cordoned], ['ready', null, false]);
  await eventually('placed', async () => (await reload(second)).status === 'ASSIGNED');
});

test('a plan that was made before the cordon places nothing after it', async () => {
  const { node } = await aPlace();
  const [before] = await database.query<{ version: number }>('select version from nodes where id = $1', [
    node.id,
  ]);
  await change(node, 'cordon');
  const [after_] = await database.query<{ version: number }>('select version from nodes where id = $1', [
    node.id,
  ]);
  assert.ok((after_?.version ?? 0) > (before?.version ?? Number.POSITIVE_INFINITY));
});

test('a drain lets runs end until the deadline, then stops what is left', async () => {
  const { node, region, submit } = await aPlace();
  const [ends, once, again, service] = await Promise.all([
    submit({ title: 'ends' }),
    submit({ title: 'once' }),
    submit({ title: 'again', max_retry_count: 1 }),
    submit({ title: 'service', task: 'PERSISTENT', max_timeout_run_ms: null, on_node_lost: 'replace' }),
  ]);
  const runs = new Map(
    await Promise.all([ends, once, again, service].map(async (job) => [job, await startedOn(job)] as const)),
  );
  const runFor = (job: Job) => runs.get(job) ?? assert.fail();
  const drained = await change(node, 'drain', { deadline_ms: 300_000, reason: 'new disks' });
  assert.deepEqual([drained.status, drained.status_reason], ['draining', 'new disks']);
  assert.equal(drained.drain?.runs_left, 4);
  const spanMs = Date.parse(drained.drain?.deadline_at ?? '') - Date.parse(drained.drain?.requested_at ?? '');
  assert.equal(spanMs, 300_000);
  await report(server, runFor(ends), exited(0));
  await report(server, runFor(ends), released);
  const other = await another(region);
  await new Promise((resolve) => setTimeout(resolve, 1_500));
  for (const job of [once, again, service]) assert.equal((await reload(job)).status, 'RUNNING');

  await setSqlClock(server, 301_000);
  await eventually('the end of what may run only once', async () => (await reload(once)).status === 'FAILED');
  assert.deepEqual((await reload(once)).status_detail, { code: 'node_drained' });
  for (const job of [again, service]) {
    // They go on elsewhere, but not before the end here is proved.
    assert.equal((await reload(job)).status, 'RUNNING');
    const run = await admin.getRun(runFor(job).id);
    assert.deepEqual([run.status, run.status_detail?.code], ['FAILING', 'node_drained']);
  }
  assert.equal((await nodeOf(node)).drain?.runs_left, 3);
  for (const job of [once, again, service]) await report(server, runFor(job), released);
  for (const job of [again, service]) assert.equal((await runOf(job, 2)).nodeId, other.id);
  const rows = await database.query(
    'select failed_run_count, lost_run_count from jobs where id = any ($1::uuid[])',
    [[again.uuid, service.uuid]],
  );
  assert.deepEqual(rows, Array(2).fill({ failed_run_count: 0, lost_run_count: 0 }));
  const empty = await eventually('the drain to end', async () => {
    const now = await nodeOf(node);
    return now.drain === null && now;
  });
  assert.deepEqual([empty.status, empty.job_run_count, empty.is_cordoned], ['cordoned', 0, true]);
  assert.deepEqual(
    (await eventsOf(node)).map(({ kind }) => kind),
    ['ready', 'drain_requested', 'drained'],
  );
  await setSqlClock(server, 0);
});

test('an uncordon ends a drain: nothing is stopped at its deadline', async () => {
  const { node, submit } = await aPlace();
  const job = await submit();
  await startedOn(job);
  await change(node, 'drain', { deadline_ms: 300_000 });
  const back = await change(node, 'uncordon');
  assert.deepEqual([back.status, back.drain], ['ready', null]);
  await setSqlClock(server, 310_000);
  await new Promise((resolve) => setTimeout(resolve, 1_500));
  assert.equal((await reload(job)).status, 'RUNNING');
  await setSqlClock(server, 0);
});

test('who changed a node, from where and why stands in its events', async () => {
  const { node } = await aPlace();
  await change(node, 'cordon', { reason: 'one' });
  await change(node, 'uncordon', { reason: 'two' });
  const events = await eventsOf(node);
  assert.deepEqual(
    events.map(({ kind, detail }) => [kind, detail?.reason]),
    [
      ['ready', undefined],
      ['cordoned', 'one'],
      ['uncordoned', 'two'],
    ],
  );
  assert.deepEqual(events[1]?.actor, {
    kind: 'key',
    key_uuid: server.adminKey.id,
    public_key: server.adminKey.publicKey,
    address: '127.0.0.1',
  });
  const only = await admin.ask<ListEnvelope<NodeEvent>>(
    'GET',
    `/v1/nodes/${node.id}/events?filter[kind]=cordoned&limit=1`,
  );
  assert.deepEqual([only.total, only.data[0]?.kind], [1, 'cordoned']);
});

test('events are kept as long as those of jobs', async () => {
  const { node } = await aPlace();
  await database.query(
    `insert into node_events (created_at, node_id, kind, actor)
     select flotilla_now() - d * interval '1 day', $1, 'cordoned', '{"kind": "test"}' from unnest(array[89, 91]) d`,
    [node.id],
  );
  await enforceRetention(database, defaultRetention);
  assert.deepEqual(
    (await eventsOf(node)).map(({ kind }) => kind),
    ['cordoned', 'ready'],
  );
});

test('changing nodes needs nodes:write of the account that owns them', async () => {
  const { node } = await aPlace();
  const reader = server.client(await server.createKey({ permissions: ['nodes:read'] }));
  const operator = server.client(await server.createKey({ permissions: ['nodes:write'] }));
  const accountId = await server.createAccount('stranger');
  const stranger = server.client(await server.createKey({ preset: 'admin', accountId }));
  const path = `/v1/nodes/${node.id}/cordon`;
  assert.equal((await reader.refusal('PUT', path)).status, 403);
  assert.equal((await stranger.refusal('PUT', path)).status, 404);
  assert.equal((await nodeOf(node)).status, 'ready');
  assert.equal((await operator.ask<Node>('PUT', path)).status, 'cordoned');
});

test('a node that holds runs is not removed, and the refusal says what to do', async () => {
  const { node, submit } = await aPlace();
  const job = await submit();
  const run = await startedOn(job);
  for (const body of [{}, { force: true }]) {
    const refusal = await refused(node, 'remove', body);
    assert.deepEqual([refusal.status, refusal.code], [409, 'conflict']);
    assert.match(refusal.message, /holds 1 run: drain it first/);
  }
  await database.query(
    "update nodes set status = 'unreachable', changed_in = pg_current_xact_id() where id = $1",
    [node.id],
  );
  assert.match((await refused(node, 'remove', { force: true })).message, /is unreachable.*back or lost/);
  assert.equal((await reload(job)).status, 'RUNNING');
  await report(server, run, exited(0));
  await report(server, run, released);
});

test('a lost node is removed by force alone, which fences what it holds', async () => {
  const { node, submit } = await aPlace();
  const job = await submit();
  await startedOn(job);
  await database.query("update nodes set status = 'lost', changed_in = pg_current_xact_id() where id = $1", [
    node.id,
  ]);
  const refusal = await refused(node, 'remove');
  assert.equal(refusal.status, 409);
  assert.match(refusal.message, /lost.*force/);
  const removed = await change(node, 'remove', { force: true, reason: 'sold' });
  assert.deepEqual([removed.status, removed.status_reason, removed.job_run_count], ['removed', 'sold', 0]);
  const failed = await reload(job);
  assert.deepEqual([failed.status, failed.status_detail?.code], ['FAILED', 'node_lost']);
});

test('a removed node is out of lists and plans, its name is free, its record stays', async () => {
  const { node, region, submit } = await aPlace();
  await change(node, 'remove', { reason: 'sold' });
  const listed = (query: string) =>
    admin.ask<ListEnvelope<Node>>('GET', `/v1/nodes?filter[uuid]=${node.id}${query}`);
  assert.equal((await listed('')).total, 0);
  assert.equal((await listed('&filter[status]=removed')).data[0]?.name, node.name);
  assert.equal((await nodeOf(node)).status, 'removed');
  const again = await change(node, 'remove', { reason: 'again' });
  assert.deepEqual([again.status, again.status_reason], ['removed', 'sold']);
  for (const verb of ['cordon', 'uncordon', 'drain']) assert.equal((await refused(node, verb)).status, 404);
  assert.deepEqual(
    (await eventsOf(node)).map(({ kind, detail }) => [kind, detail?.reason]),
    [
      ['ready', undefined],
      ['removed', 'sold'],
    ],
  );
  const job = await submit();
  const waiting = await eventually('a reason', async () => (await reload(job)).pending_reason);
  const present = await admin.ask<ListEnvelope<Node>>('GET', '/v1/nodes');
  assert.equal(waiting.nodes_considered, present.total, 'nobody counts it any more');
  const successor = await aNode(server, { name: node.name, region });
  assert.equal((await runOf(job)).nodeId, successor.id);
});

test('the agent of a removed node is put out at once, and told why when it dials again', async () => {
  const { uuid: id, key } = await admin.ask<CreatedNode>('POST', '/v1/nodes', {
    body: { name: `gone-${newId()}` },
  });
  const client = server.client({ publicKey: key.public_key, secretKey: key.secret_key });
  const agent = await HandAgent.dial(client);
  agents.push(agent);
  await agent.greet();
  await change({ id }, 'remove');
  const { code, message } = await agent.next('refused');
  assert.equal(code, 'key_expired');
  assert.match(message, /node/);
  assert.equal(await agent.closed, 1008);
  const refusal = await HandAgent.dial(client).then(
    () => assert.fail('it was let in'),
    (error: unknown) => error,
  );
  assert.ok(refusal instanceof UpgradeRefused);
  assert.deepEqual([refusal.status, refusal.code], [401, 'key_expired']);
  assert.match(refusal.message, /node.*removed.*flotilla node register/);
  assert.equal((await nodeOf({ id })).status, 'removed');
});

test('nothing of all this was an error to the program', () => {
  assert.deepEqual(
    server.logLines.filter((line) => /"level":[56]0/.test(line)),
    [],
  );
});
