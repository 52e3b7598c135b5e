// Rate limits: a key that sends too much is told when to come back, others are not touched, and a stop always goes through.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { CreatedApiKey } from '../../src/protocol/api-key.ts';
import type { RateLimitSetting } from '../../src/protocol/rate-limit.ts';
import { aJob } from '../support/builders.ts';
import { eventually, startTestServer } from '../support/server.ts';

const server = await startTestServer({ hasScheduler: false });
const { admin } = server;

async function limited(perSecond: number, preset = 'consumer') {
  const body = { preset, rate_limit_per_second: perSecond };
  const key = await admin.ask<CreatedApiKey>('POST', '/v1/api-keys', { body });
  return server.client({ publicKey: key.public_key, secretKey: key.secret_key });
}

test('beyond its rate a key gets 429 with the time to wait, and after that time it is served', async () => {
  const client = await limited(2);
  const answers = [];
  for (let sent = 0; sent < 8; sent += 1) answers.push(await client.send('GET', '/v1/jobs'));
  const statuses = answers.map(({ status }) => status);
  assert.deepEqual(statuses.slice(0, 4), [200, 200, 200, 200]);
  const refused = answers.find(({ status }) => status === 429);
  assert.ok(refused, `one of ${statuses} is 429`);
  const { error } = refused.body as { error: { code: string; message: string } };
  assert.equal(error.code, 'rate_limited');
  assert.match(error.message, /2 requests a second/);
  const seconds = Number(refused.headers['retry-after']);
  assert.ok(seconds >= 1);
  await admin.ask('GET', '/v1/jobs');
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  await client.ask('GET', '/v1/jobs');
});

test('a stop is never refused for rate, and takes nothing of it', async () => {
  const client = await limited(0.01);
  const job = await client.createJob(aJob());
  assert.equal((await client.refusal('GET', `/v1/jobs/${job.uuid}`)).status, 429);
  for (let again = 0; again < 10; again += 1)
    assert.equal((await client.stopJob(job.uuid)).status, 'CANCELLED');
  await client.stopJobs({ all: true });
});

test("the cluster's admin sets the rate of all keys that have none of their own", async () => {
  const setting = () => admin.ask<RateLimitSetting>('GET', '/v1/cluster/rate-limit');
  const usual = await setting();
  assert.ok(usual.requests_per_second >= 10_000);
  // The admin's own key is to get through meanwhile.
  await admin.ask('PUT', `/v1/api-keys/${server.adminKey.id}`, { body: { rate_limit_per_second: 10_000 } });
  const client = server.client(await server.createKey());
  for (let sent = 0; sent < 20; sent += 1) await client.ask('GET', '/v1/jobs');
  await admin.ask('PUT', '/v1/cluster/rate-limit', { body: { requests_per_second: 1 } });
  await eventually('the rate reaches the replica', async () => {
    const answers = await Promise.all(Array.from({ length: 5 }, () => client.send('GET', '/v1/jobs')));
    return answers.some(({ status }) => status === 429);
  });
  const free = await limited(1_000);
  for (let sent = 0; sent < 20; sent += 1) await free.ask('GET', '/v1/jobs');
  const { message } = await (await limited(50, 'admin')).refusal('POST', '/v1/api-keys', {
    body: { preset: 'consumer', rate_limit_per_second: 51 },
  });
  assert.match(message, /higher rate than its own 50/);
  const put = await admin.ask<RateLimitSetting>('PUT', '/v1/cluster/rate-limit', {
    body: { requests_per_second: null },
  });
  assert.deepEqual(put, usual);
});

test("above the cluster's rate only its admin sets one", async () => {
  const tenant = server.client(await server.createKey({ preset: 'admin' }));
  const ask = (rate: number) =>
    tenant.send('POST', '/v1/api-keys', { body: { preset: 'consumer', rate_limit_per_second: rate } });
  assert.equal((await ask(100)).status, 201);
  assert.equal((await ask(500_000)).status, 403);
});
