// SDK and command line on streams of the real server: waiting, following and webhooks, without polling.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, test } from 'node:test';
import { appendLogChunks, defaultLogCap } from '../../src/db/run-logs.ts';
import type { JobRunLogs } from '../../src/protocol/job-run.ts';
import { createClient } from '../../src/sdk/client.ts';
import { aJob, aNode } from '../support/builders.ts';
import { exited, place, preparing, released, report, running } from '../support/runs.ts';
import { eventually, startTestServer } from '../support/server.ts';

const server = await startTestServer({ hasScheduler: false, allowedWebhooks: ['127.0.0.1'] });
const { database } = server;
const { publicKey, secretKey } = server.adminKey;
const client = createClient({ url: server.url, publicKey, secretKey });
const node = await aNode(server);
after(() => client.close());

async function aPlacedRun() {
  const { uuid } = await server.admin.createJob(aJob());
  return { jobId: uuid, run: await place(server, uuid, node.id) };
}

test('wait tells each status as it is pushed, and asks no more than that takes', async () => {
  const { jobId, run } = await aPlacedRun();
  const seen: string[] = [];
  let looks = 0;
  const counting = createClient({
    ...{ url: server.url, publicKey, secretKey },
    edge: {
      nonce: () => {
        looks += 1;
        return crypto.randomUUID();
      },
    },
  });
  const waiting = counting.jobs.wait(jobId, { onStatus: ({ status }) => seen.push(status) });
  await eventually('it waits', async () => seen.length === 1);
  await report(server, run, preparing);
  await report(server, run, running);
  await eventually('RUNNING is told', async () => seen.includes('RUNNING'));
  const before = looks;
  await new Promise((resolve) => setTimeout(resolve, 1_500));
  assert.ok(looks - before <= 1, `${looks - before} requests while nothing happened`);
  await report(server, run, exited());
  assert.equal((await waiting).status, 'COMPLETED');
  assert.deepEqual(seen, ['ASSIGNED', 'RUNNING', 'COMPLETED']);
  counting.close();
});

test('a wait ends with its time', async () => {
  const { jobId } = await aPlacedRun();
  await assert.rejects(client.jobs.wait(jobId, { timeoutMs: 200 }), /still ASSIGNED after 200 ms/);
});

test('a log is followed through a restart of the server', async () => {
  const { run } = await aPlacedRun();
  const replica = await server.startReplica();
  const { port } = new URL(replica.url);
  const own = createClient({ url: replica.url, publicKey, secretKey });
  let offset = 0;
  const write = async (text: string) => {
    const chunk = {
      runId: run.id,
      stream: 'stdout' as const,
      offset,
      bytes: Buffer.from(text),
      position: '',
    };
    await appendLogChunks(database, { nodeId: node.id, chunks: [chunk], cap: defaultLogCap });
    offset += Buffer.byteLength(text);
  };
  await report(server, run, preparing);
  await report(server, run, running);
  await write('before ');
  const texts: string[] = [];
  const following = own.runs.followLogs(run.id, (page: JobRunLogs) => {
    texts.push(page.text);
  });
  await eventually('the first piece came', async () => texts.length === 1);
  await replica.stop();
  await write('meanwhile ');
  await server.startReplica({ port: Number(port) });
  await write('after');
  await report(server, run, exited());
  await report(server, run, released);
  assert.deepEqual(await following, { nextOffset: offset, isComplete: true });
  assert.equal(texts.join(''), 'before meanwhile after');
  own.close();
});

test('events are followed and resumed by their last id', async () => {
  const stop = new AbortController();
  const kinds: string[] = [];
  let lastId = '';
  const { jobId, run } = await aPlacedRun();
  await report(server, run, preparing);
  for await (const event of client.jobs.followEvents(jobId)) {
    kinds.push(event.kind);
    ({ lastId } = event);
    break;
  }
  for await (const event of client.jobs.followEvents(jobId, { lastId, signal: stop.signal })) {
    kinds.push(event.kind);
    break;
  }
  assert.deepEqual(kinds, ['submitted', 'placed']);
  const { data } = await client.events.list({ limit: 1 });
  assert.equal(data[0]?.kind, 'preparing');
});

test('webhooks are made, tested, looked at and deleted', async () => {
  const receiver = createServer((_request, response) => response.writeHead(204).end());
  receiver.listen(0, '127.0.0.1');
  await once(receiver, 'listening');
  const { port } = receiver.address() as AddressInfo;
  const made = await client.webhooks.create({ url: `http://127.0.0.1:${port}/`, kinds: ['none'] });
  assert.match(made.secret ?? '', /^whsec_/);
  const delivery = await client.webhooks.test(made.uuid);
  await eventually('it was delivered', async () => {
    const { data } = await client.webhooks.deliveries(made.uuid);
    return data[0]?.uuid === delivery.uuid && data[0].status === 'delivered';
  });
  assert.equal((await client.webhooks.redeliver(made.uuid, delivery.uuid)).status, 'pending');
  assert.equal((await client.webhooks.update(made.uuid, { is_enabled: false })).is_enabled, false);
  assert.equal((await client.webhooks.list()).data.length, 1);
  await client.webhooks.delete(made.uuid);
  await assert.rejects(client.webhooks.get(made.uuid), /There is no webhook/);
  receiver.close();
});
