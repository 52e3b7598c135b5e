// Jobs: create with every field, get, list with every filter, secrets at rest, accounts apart, idempotency, group commit.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import type { Job } from '../../src/protocol/job.ts';
import { aJob, aNode } from '../support/builders.ts';
import { place } from '../support/runs.ts';
import { setSqlClock, startTestServer } from '../support/server.ts';

const server = await startTestServer({ hasScheduler: false });
const { admin, database } = server;

/** The fields of the reference's Stop Job page, and the additive ones of our documents. */
const referenceFields = [
  ...[
    'object',
    'created_at',
    'updated_at',
    'status',
    'task',
    'title',
    'cpu_count',
    'gpu_count',
    'min_ram_gb',
  ],
  ...[
    'min_vram_gb',
    'min_storage_gb',
    'parameters',
    'timeout_assign_at_ms',
    'uuid',
    'started_at',
    'completed_at',
  ],
  ...['description', 'gpu_name', 'gpu_registry_uuid', 'max_timeout_assign_ms', 'max_timeout_run_ms'],
  ...[
    'max_timeout_start_ms',
    'max_retry_count',
    'max_node_count',
    'image_size_bytes',
    'container_access_tokens',
  ],
  ...['status_reason', 'source_recipe_uuid'],
];
const additiveFields = [
  'on_node_lost',
  'start_timeout_waits_for_pull',
  ...[
    'allowed_region_codes',
    'labels',
    'priority',
    'teardown',
    'pending_reason',
    'node_urls',
    'status_detail',
  ],
  ...['source_recipe_version', 'endpoint_url'],
  ...['max_cost_usd', 'renew_within_ms', 'renew_by', 'idle_timeout_ms'],
];
const containerFields = [
  ...[
    'image',
    'tag',
    'host',
    'user',
    'secret',
    'imagesrc',
    'ports',
    'env',
    'sshkey',
    'allowed_ips',
    'volumes',
  ],
  ...['command', 'entrypoint', 'stop_signal', 'stop_grace_ms'],
];

const everything = {
  task: 'BATCH',
  title: 'Rendu café 🚀',
  description: 'all of it',
  cpu_count: 2.5,
  gpu_count: 1,
  gpu_name: 'RTX 4090',
  min_ram_gb: 1.5,
  min_storage_gb: 10,
  min_vram_gb: 12,
  max_node_count: 1,
  max_retry_count: 3,
  max_timeout_assign_ms: 300_000,
  max_timeout_start_ms: 120_000,
  start_timeout_waits_for_pull: true,
  max_timeout_run_ms: 60_000,
  allowed_region_codes: ['eu-central-1', 'us-east-1'],
  image_size_bytes: 123_456_789,
  labels: { team: 'render', 'a/b.c': 'x y' },
  priority: 7,
};
const everyContainerField = {
  image: 'team/image',
  tag: '1.2',
  host: 'registry.example.com',
  user: 'robot',
  secret: `hidden-${randomBytes(8).toString('hex')}`,
  imagesrc: 'somewhere',
  ports: [22, 8000],
  env: { GREETING: 'hello', '9': 'nine', EMPTY: '', TOKEN: `plain-${randomBytes(8).toString('hex')}` },
  sshkey: 'ssh-ed25519 AAAA someone',
  allowed_ips: ['203.0.113.7/32', '::1'],
  volumes: [
    {
      image: 'team/files',
      tag: '7',
      registry: 'files.example.com',
      user: 'eve',
      secret: 'sesame',
      mount: '/data',
    },
    { image: 'models', tag: 'latest', registry: '', user: '', secret: '', mount: '/models' },
  ],
  command: ['sh', '-c', 'echo hi'],
  entrypoint: ['/bin/tini', '--'],
  stop_signal: 'SIGINT',
  stop_grace_ms: 1_000,
};

async function withoutVolatile(job: Job) {
  const { uuid, created_at, updated_at, timeout_assign_at_ms, queue_position: _, ...rest } = job;
  assert.ok(uuid && created_at && updated_at && timeout_assign_at_ms !== undefined);
  return rest;
}

test('create with every field gives them back, typed as the reference says', async () => {
  const job = await admin.createJob(aJob({ ...everything, container: everyContainerField }));
  assert.deepEqual(Object.keys(job).sort(), [...referenceFields, ...additiveFields].sort());
  assert.deepEqual(Object.keys(job.parameters.parameters).sort(), containerFields.sort());
  const { parameters, ...fields } = await withoutVolatile(job);
  assert.deepEqual(fields, {
    ...everything,
    ...{ object: 'job', status: 'PENDING', gpu_registry_uuid: null, started_at: null, completed_at: null },
    ...{ container_access_tokens: [], node_urls: [], status_reason: null, status_detail: null },
    ...{ source_recipe_uuid: null, teardown: null, pending_reason: null, on_node_lost: null },
    ...{ source_recipe_version: null, endpoint_url: null },
    ...{ max_cost_usd: null, renew_within_ms: null, renew_by: null, idle_timeout_ms: null },
  });
  assert.deepEqual(parameters, {
    type: 'docker',
    parameters: {
      ...everyContainerField,
      secret: '***',
      volumes: everyContainerField.volumes.map((volume) => ({ ...volume, secret: volume.secret && '***' })),
    },
  });
  const waited = (job.timeout_assign_at_ms ?? 0) - Date.parse(job.created_at);
  assert.ok(Math.abs(waited - everything.max_timeout_assign_ms) <= 1, `${waited} ms to be assigned`);
  assert.match(job.uuid, /^[0-9a-f]{8}-[0-9a-f]{4}-7/);
  const { queue_position, ...read } = await admin.getJob(job.uuid);
  assert.equal(queue_position, null);
  assert.deepEqual(read, job);
});

test('what is not given has its default', async () => {
  const body = {
    max_timeout_run_ms: 60_000,
    parameters: { type: 'docker', parameters: { image: 'busybox' } },
  };
  const { parameters, ...fields } = await withoutVolatile(await admin.createJob(body));
  assert.deepEqual(fields, {
    ...{ object: 'job', status: 'PENDING', task: 'BATCH', title: 'Untitled job', description: null },
    ...{ cpu_count: 0, gpu_count: 0, min_ram_gb: 0, min_vram_gb: 0, min_storage_gb: 0, gpu_name: null },
    ...{ gpu_registry_uuid: null, started_at: null, completed_at: null, max_timeout_assign_ms: 300_000 },
    ...{ max_timeout_start_ms: 300_000, max_timeout_run_ms: 60_000, max_retry_count: 0, max_node_count: 1 },
    ...{ image_size_bytes: null, container_access_tokens: [], status_reason: null, source_recipe_uuid: null },
    start_timeout_waits_for_pull: false,
    ...{ allowed_region_codes: [], labels: {}, priority: 0, teardown: null, pending_reason: null },
    ...{
      node_urls: [],
      status_detail: null,
      on_node_lost: null,
      source_recipe_version: null,
      endpoint_url: null,
      max_cost_usd: null,
      renew_within_ms: null,
      renew_by: null,
      idle_timeout_ms: null,
    },
  });
  assert.deepEqual(parameters.parameters, {
    ...{
      image: 'busybox',
      tag: 'latest',
      host: '',
      user: '',
      secret: '',
      imagesrc: '',
      ports: null,
      env: {},
    },
    ...{ sshkey: '', allowed_ips: [], volumes: [], command: null, entrypoint: null, stop_signal: null },
    stop_grace_ms: null,
  });
});

test('a PERSISTENT job has no run timeout, whether it is null or absent', async () => {
  const absent = await admin.createJob(aJob({ task: 'PERSISTENT', max_timeout_run_ms: undefined }));
  const given = await admin.createJob(aJob({ task: 'PERSISTENT', max_timeout_run_ms: null }));
  for (const job of [absent, given]) {
    assert.deepEqual([job.task, job.max_timeout_run_ms], ['PERSISTENT', null]);
  }
});

test('empty strings and null mean absent, but not inside env', async () => {
  const empty = { tag: '', host: '', user: '', secret: '', sshkey: '', imagesrc: '', stop_signal: '' };
  const none = { ports: null, allowed_ips: null, volumes: null, command: null, entrypoint: null };
  const body = aJob({
    ...{ title: '', description: '', gpu_name: '', gpu_registry_uuid: '', labels: null, priority: null },
    ...{ cpu_count: null, gpu_count: null, min_ram_gb: null, max_retry_count: null, image_size_bytes: null },
    container: { ...empty, ...none, env: { KEPT: '' } },
  });
  const job = await admin.createJob(body);
  assert.deepEqual([job.title, job.description, job.gpu_name], ['Untitled job', null, null]);
  assert.deepEqual([job.gpu_registry_uuid, job.cpu_count, job.priority], [null, 0, 0]);
  const { tag, host, secret, env, ports } = job.parameters.parameters;
  assert.deepEqual(
    { tag, host, secret, env, ports },
    {
      ...{ tag: 'latest', host: '', secret: '', env: { KEPT: '' }, ports: null },
    },
  );
});

test('the tag inside image is split off, and a registry port is none', async () => {
  const cases = [
    [{ image: 'busybox:1.36' }, ['busybox', '1.36']],
    [{ image: 'busybox:1.36', tag: '1.36' }, ['busybox', '1.36']],
    [{ image: 'busybox', tag: 'musl' }, ['busybox', 'musl']],
    [{ image: 'localhost:5000/team/a' }, ['localhost:5000/team/a', 'latest']],
    [{ image: 'localhost:5000/team/a:b' }, ['localhost:5000/team/a', 'b']],
  ] as const;
  for (const [container, expected] of cases) {
    const { image, tag } = (await admin.createJob(aJob({ container }))).parameters.parameters;
    assert.deepEqual([image, tag], expected);
  }
});

test('secrets are nowhere in the database in clear', async () => {
  const secret = `registry-${randomBytes(12).toString('hex')}`;
  const value = `environment-${randomBytes(12).toString('hex')}`;
  const marker = `marker-${randomBytes(12).toString('hex')}`;
  const container = { user: 'robot', secret, env: { TOKEN: value } };
  const job = await admin.createJob(aJob({ title: marker, container }));
  assert.deepEqual(job.parameters.parameters.env, { TOKEN: value });
  const node = await aNode(server);
  await place(server, job.uuid, node.id);
  await admin.stopJob(job.uuid);
  const dump = await dumpTables();
  assert.ok(dump.includes(marker), 'the dump holds what is no secret');
  for (const text of [secret, value, server.adminKey.secretKey]) {
    assert.ok(!dump.includes(text), 'a secret is stored in clear');
    assert.ok(!dump.includes(Buffer.from(text).toString('hex')), 'a secret is stored in clear, as bytes');
    assert.ok(
      !dump.includes(Buffer.from(text).toString('base64').slice(0, -4)),
      'a secret is stored as base64',
    );
  }
});

async function dumpTables(): Promise<string> {
  const tables = await database.query<{ name: string }>(
    "select quote_ident(tablename) as name from pg_tables where schemaname = 'public'",
  );
  const rows = await Promise.all(
    tables.map(({ name }) => database.query<{ row: string }>(`select t::text as row from ${name} t`)),
  );
  return rows
    .flat()
    .map(({ row }) => row)
    .join('\n');
}

test('a mask cannot be stored by getting a job and posting it again', async () => {
  const container = { user: 'robot', secret: '***', env: { TOKEN: '***' } };
  const issues = await admin.issues('POST', '/v1/jobs', { body: aJob({ container }) });
  assert.deepEqual([...issues.keys()].sort(), [
    'parameters.parameters.env.TOKEN',
    'parameters.parameters.secret',
  ]);
});

test("another account's job does not exist", async () => {
  const job = await admin.createJob(aJob());
  const accountId = await server.createAccount('neighbour');
  const neighbour = server.client(await server.createKey({ preset: 'admin', accountId }));
  assert.equal((await neighbour.refusal('GET', `/v1/jobs/${job.uuid}`)).code, 'not_found');
  assert.equal((await neighbour.refusal('PUT', `/v1/jobs/${job.uuid}/cancel`)).code, 'not_found');
  const listed = await neighbour.listJobs({ 'filter[uuid]': job.uuid });
  assert.deepEqual([listed.total, listed.data], [0, []]);
  assert.equal((await admin.getJob(job.uuid)).status, 'PENDING');
});

test('raising the priority needs its permission, lowering it does not', async () => {
  const consumer = server.client(await server.createKey({ preset: 'consumer' }));
  const refusal = await consumer.refusal('POST', '/v1/jobs', { body: aJob({ priority: 1 }) });
  assert.deepEqual([refusal.status, refusal.code], [403, 'permission_denied']);
  assert.equal((await consumer.createJob(aJob({ priority: -5 }))).priority, -5);
});

test('an idempotency key answers the first job, and refuses another body', async () => {
  const key = { 'Idempotency-Key': 'order-1' };
  const body = aJob({ title: 'once' });
  const first = await admin.createJob(body, key);
  await admin.stopJob(first.uuid);
  const again = await admin.createJob(body, key);
  assert.deepEqual([again.uuid, again.status], [first.uuid, 'CANCELLED']);
  const refusal = await admin.refusal('POST', '/v1/jobs', { body: aJob({ title: 'twice' }), headers: key });
  assert.deepEqual([refusal.status, refusal.code], [409, 'idempotency_conflict']);
  assert.deepEqual(refusal.details, { job_uuid: first.uuid });
  const accountId = await server.createAccount('same key');
  const other = server.client(await server.createKey({ accountId }));
  assert.notEqual((await other.createJob(body, key)).uuid, first.uuid);
  const issues = await admin.issues('POST', '/v1/jobs', { body, headers: { 'Idempotency-Key': 'a b' } });
  assert.deepEqual([...issues.keys()], ['Idempotency-Key']);
});

test('a refused create does not use up its idempotency key', async () => {
  const headers = { 'Idempotency-Key': 'second-thought' };
  assert.equal((await admin.refusal('POST', '/v1/jobs', { body: {}, headers })).status, 400);
  const job = await admin.createJob(aJob({ title: 'mended' }), headers);
  assert.equal(job.title, 'mended');
});

test('an idempotency key is free again after a day', async () => {
  const headers = { 'Idempotency-Key': 'daily' };
  const first = await admin.createJob(aJob({ title: 'today' }), headers);
  await setSqlClock(server, 23.9 * 3_600_000);
  assert.equal((await admin.createJob(aJob({ title: 'today' }), headers)).uuid, first.uuid);
  await setSqlClock(server, 24.1 * 3_600_000);
  const next = await admin.createJob(aJob({ title: 'tomorrow' }), headers);
  await setSqlClock(server, 0);
  assert.notEqual(next.uuid, first.uuid);
  assert.equal(next.title, 'tomorrow');
});

test('32 requests with one idempotency key among 32 others at once make 33 jobs', async () => {
  const marker = `burst-${randomBytes(4).toString('hex')}`;
  const equal = Array.from({ length: 32 }, () =>
    admin.createJob(aJob({ labels: { marker } }), { 'Idempotency-Key': marker }),
  );
  const others = Array.from({ length: 32 }, (_, index) =>
    admin.createJob(
      aJob({ labels: { marker } }),
      index % 2 ? {} : { 'Idempotency-Key': `${marker}-${index}` },
    ),
  );
  const same = new Set((await Promise.all(equal)).map((job) => job.uuid));
  const different = new Set((await Promise.all(others)).map((job) => job.uuid));
  assert.deepEqual([same.size, different.size], [1, 32]);
  assert.equal((await admin.listJobs({ 'filter[label]': `marker=${marker}` })).total, 33);
});

test('a row that the database refuses fails alone among those that share its commit', async () => {
  await database.query("alter table jobs add constraint no_poison check (title <> 'poison')");
  const titles = Array.from({ length: 40 }, (_, index) => (index === 17 ? 'poison' : `neighbour ${index}`));
  const answers = await Promise.all(
    titles.map((title) => admin.send<Job>('POST', '/v1/jobs', { body: aJob({ title }) })),
  );
  await database.query('alter table jobs drop constraint no_poison');
  assert.deepEqual(
    answers.map((answer) => answer.status),
    titles.map((title) => (title === 'poison' ? 500 : 201)),
  );
  const [poisoned] = answers.filter((answer) => answer.status === 500);
  assert.ok(!/poison|constraint|jobs/.test(poisoned?.text ?? ''), 'the inside is not told');
  assert.equal((await database.query("select from jobs where title = 'poison'")).length, 0);
});

test('many creates at once share their commits', async () => {
  const before = await commits();
  await Promise.all(Array.from({ length: 200 }, () => admin.createJob(aJob())));
  assert.ok((await commits()) - before < 150, 'fewer statements than requests');
});

/** Calls of the submit statement would need an extension; the rows' transactions tell as much. */
async function commits(): Promise<number> {
  const [row] = await database.query<{ count: number }>(
    'select count(distinct xmin::text) as count from jobs',
  );
  return row?.count ?? 0;
}
