// Two replicas on one database: what one accepted the other knows, whoever leads, and also when hints were lost.
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import type { Job } from '../../src/protocol/job.ts';
import type { Node } from '../../src/protocol/node.ts';
import { HandAgent } from '../support/agent.ts';
import { aJob, aNode, anInventory } from '../support/builders.ts';
import type { Client } from '../support/client.ts';
import { eventually, startTestServer } from '../support/server.ts';

const server = await startTestServer();
const { admin: leader, database } = server;
let follower: Client;
const nodes = { region: 'eu-north-1' };

before(async () => {
  await eventually(
    'a leader',
    async () => (await database.query("select from leaderships where name = 'scheduler'")).length > 0,
  );
  const second = await server.startReplica();
  follower = server.client(server.adminKey, second.url);
  await aNode(server, { ...nodes, cpus: 64 });
});

const waiting = (fields: object = {}) => aJob({ allowed_region_codes: ['us-west-1'], ...fields });

test('a job submitted to one is read, listed and stopped on the other at once', async () => {
  for (const [one, other] of [
    [leader, follower],
    [follower, leader],
  ] as const) {
    const job = await one.createJob(waiting({ labels: { submitted: 'here' } }));
    assert.equal((await other.getJob(job.uuid)).uuid, job.uuid);
    const listed = await other.listJobs({ 'filter[uuid]': job.uuid });
    assert.deepEqual(
      listed.data.map(({ uuid }) => uuid),
      [job.uuid],
    );
    assert.equal((await other.stopJob(job.uuid)).status, 'CANCELLED');
    assert.equal((await one.getJob(job.uuid)).status, 'CANCELLED');
  }
});

test('a client that polls for runs right after its submit sees them, on whichever replica it asks', async () => {
  for (const [submitTo, ask] of [
    [follower, follower],
    [leader, follower],
    [follower, leader],
  ] as const) {
    const job = await submitTo.createJob(aJob({ allowed_region_codes: [nodes.region] }));
    const askedAt = performance.now();
    const { data } = await ask.listRuns({ 'filter[job_uuid]': job.uuid });
    // On a busy machine the pass may take longer than the answer waits for it.
    if (performance.now() - askedAt < 150) assert.equal(data.length, 1);
    await eventually('placed', async () => (await ask.getJob(job.uuid)).status === 'ASSIGNED');
  }
});

test('a job that no node takes delays the list of runs only until a pass has seen it', async () => {
  const tookMs: number[] = [];
  for (let round = 0; round < 5; round += 1) {
    await leader.createJob(waiting());
    const askedAt = performance.now();
    await follower.listRuns();
    tookMs.push(performance.now() - askedAt);
  }
  assert.ok(Math.min(...tookMs) < 190, `${tookMs.map(Math.round)} ms`);
});

test('every replica tells why a job waits and its place in line', async () => {
  const jobs: Job[] = [];
  for (const priority of [0, 5, 9]) jobs.push(await follower.createJob(waiting({ priority })));
  const places = (client: Client) =>
    Promise.all(jobs.map(async ({ uuid }) => (await client.getJob(uuid)).queue_position));
  const told = await eventually('places in line', async () => {
    const now = await places(leader);
    return now.every((place) => typeof place === 'number') && now;
  });
  assert.deepEqual(await places(follower), told);
  const [last = 0, middle = 0, first = 0] = told;
  assert.ok(first !== null && middle !== null && last !== null && first < middle && middle < last);
  const { pending_reason } = await follower.getJob(jobs[0]?.uuid ?? '');
  assert.ok(pending_reason);
});

/** Longer than a hint takes, far shorter than a replica may keep a key in memory. */
const atOnceMs = 2_000;

test('a revoked key is refused by every replica at once, and its agent goes', async () => {
  const key = await server.createKey();
  const elsewhere = server.client(key, follower.url);
  await elsewhere.listJobs();
  const node = await leader.ask<Node & { key: { public_key: string; secret_key: string } }>(
    'POST',
    '/v1/nodes',
    {
      body: { name: 'revoked' },
    },
  );
  const nodeKey = { publicKey: node.key.public_key, secretKey: node.key.secret_key };
  const agent = await HandAgent.dial(server.client(nodeKey, follower.url));
  await agent.greet({ inventory: anInventory() });

  await leader.ask('DELETE', `/v1/api-keys/${key.id}`);
  await untilRefused(elsewhere);
  const keys = await leader.ask<{ data: { uuid: string; public_key: string }[] }>(
    'GET',
    '/v1/api-keys?limit=50',
  );
  const found = keys.data.find((one) => one.public_key === nodeKey.publicKey);
  await leader.ask('DELETE', `/v1/api-keys/${found?.uuid}`);
  assert.equal((await agent.next('refused', atOnceMs)).code, 'key_expired');
});

async function untilRefused(client: Client): Promise<void> {
  await eventually(
    'the key to be refused',
    async () => {
      const { status, body } = await client.send<{ error?: { code: string } }>('GET', '/v1/jobs');
      return status === 401 && body.error?.code === 'key_expired';
    },
    atOnceMs,
  );
}

test('what was revoked while a replica heard nothing is refused as soon as it listens again', async () => {
  const key = await server.createKey();
  const clients = [leader, follower].map(({ url }) => server.client(key, url));
  for (const client of clients) await client.listJobs();
  // Past the API, which would tell: as if no hint of it had arrived.
  await database.query('update api_keys set revoked_at = now() where id = $1', [key.id]);
  for (const client of clients) await client.listJobs();
  const cut = await database.query(
    "select pg_terminate_backend(pid) from pg_stat_activity where query = 'listen flotilla' and datname = current_database()",
  );
  assert.equal(cut.length, 2, 'both replicas listen');
  for (const client of clients) await untilRefused(client);
});

test('what other programs send on the channel of hints harms nobody', async () => {
  for (const payload of [
    '',
    'hello',
    '[]',
    '{"hints": 3}',
    '{"from": "x", "hints": [{"kind": "unheard of"}]}',
  ])
    await database.query('select pg_notify($1, $2)', ['flotilla', payload]);
  const job = await follower.createJob(aJob({ allowed_region_codes: [nodes.region] }));
  await eventually('placed', async () => (await leader.getJob(job.uuid)).status === 'ASSIGNED');
});

test('nothing of all this was an error to the program', () => {
  assert.deepEqual(
    server.logLines.filter((line) => /"level":[56]0/.test(line)),
    [],
  );
});
