// Answers to what the reference leaves open, where no other test holds us to them (docs/compatibility.md).
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { regionCodes } from '../../src/protocol/schema.ts';
import { aJob, aNode } from '../support/builders.ts';
import { eventually, startTestServer } from '../support/server.ts';

const server = await startTestServer();
const { admin } = server;

test('a nonce may be 16 or 32 bytes', async () => {
  for (const bytes of [16, 32]) {
    const nonce = randomBytes(bytes).toString('hex');
    assert.equal((await admin.send('GET', '/v1/jobs', { nonce })).status, 200);
  }
});

const many = <T>(count: number, of: (index: number) => T) => Array.from({ length: count }, (_, i) => of(i));
const volume = (index: number) => ({ image: 'files', mount: `/data/${index}` });
const range = (index: number) => `10.0.${Math.floor(index / 256)}.${index % 256}`;

/** What is still taken, and one more of it. */
const limits = [
  ['title', (count: number) => ({ title: 'x'.repeat(count) }), 256],
  ['description', (count: number) => ({ description: 'x'.repeat(count) }), 4096],
  [
    'parameters.parameters.ports',
    (count: number) => ({ container: { ports: many(count, (i) => i + 1) } }),
    64,
  ],
  ['parameters.parameters.volumes', (count: number) => ({ container: { volumes: many(count, volume) } }), 16],
  [
    'parameters.parameters.allowed_ips',
    (count: number) => ({ container: { allowed_ips: many(count, range) } }),
    256,
  ],
] as const;

for (const [path, fields, limit] of limits) {
  test(`${path} takes ${limit} and no more`, async () => {
    await admin.createJob(aJob(fields(limit)));
    const issues = await admin.issues('POST', '/v1/jobs', { body: aJob(fields(limit + 1)) });
    assert.deepEqual([...issues.keys()], [path]);
  });
}

test('there are 36 regions, as many as a job may name', async () => {
  assert.equal(regionCodes.length, 36);
  const job = await admin.createJob(aJob({ allowed_region_codes: [...regionCodes] }));
  assert.equal(job.allowed_region_codes.length, 36);
});

test('a job that may have several nodes runs on one', async () => {
  await aNode(server);
  await aNode(server);
  const job = await admin.createJob(aJob({ max_node_count: 2 }));
  assert.equal(job.max_node_count, 2);
  const runsOf = async (uuid: string) => (await admin.listRuns({ 'filter[job_uuid]': uuid })).total;
  await eventually('a run', async () => (await runsOf(job.uuid)) > 0);
  const later = await admin.createJob(aJob());
  await eventually('a run of the next job', async () => (await runsOf(later.uuid)) > 0);
  assert.equal(await runsOf(job.uuid), 1);
});
