// Every endpoint and object of the reference API, asked of the real server: each documented field is there, of its type.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { defaultGatewaySettings } from '../../src/main/gateway-settings.ts';
import type { CreatedApiKey } from '../../src/protocol/api-key.ts';
import type { GpuRegistryEntry } from '../../src/protocol/gpu-registry.ts';
import type { NodeLoad } from '../../src/protocol/hardware.ts';
import type { Job } from '../../src/protocol/job.ts';
import type { JobRun } from '../../src/protocol/job-run.ts';
import type { LedgerTransaction } from '../../src/protocol/ledger.ts';
import type { ListEnvelope } from '../../src/protocol/list.ts';
import type { Node } from '../../src/protocol/node.ts';
import type { Offer } from '../../src/protocol/offer.ts';
import type { Recipe } from '../../src/protocol/recipe.ts';
import type { JwkSet } from '../../src/protocol/sign-in.ts';
import type { Me, User } from '../../src/protocol/user.ts';
import { aJob, anInventory } from '../support/builders.ts';
import type { Client, SendOptions } from '../support/client.ts';
import { createHandNodes, endsWith, runsNow } from '../support/hand-nodes.ts';
import { fetchOpenApi } from '../support/openapi-check.ts';
import { eventually, startTestServer } from '../support/server.ts';
import { createSample } from './reference/body-fields.ts';
import { endpoints } from './reference/endpoints.ts';
import {
  alternatives,
  fieldProblems,
  isReadableAs,
  type ReferenceObject,
  schemaOf,
  typeOf,
} from './reference/field-list.ts';
import { referenceObjects } from './reference/objects.ts';
import { schemaAt } from './reference/schemas.ts';

const ports = { from: 21_400, to: 21_420 };
const gateway = { ...defaultGatewaySettings, ports, listenHost: '127.0.0.5' };
const server = await startTestServer({ gateway });
const document = await fetchOpenApi(server.url);
const nodes = createHandNodes(server);
after(() => nodes.close());

const asked = new Set<string>();
/** What was answered, by the title of its field list. */
const seen = new Map<string, unknown>();

/** `route` with its places filled in turn. */
async function ask<T>(route: string, values: string[] = [], options: SendOptions & { client?: Client } = {}) {
  const { client = server.admin, ...sent } = options;
  const [method = '', template = ''] = route.split(' ');
  const left = [...values];
  const path = template.replaceAll(/\{\w+\}/g, () => left.shift() ?? assert.fail(`${route} needs an id`));
  asked.add(route);
  return client.ask<T>(method, `${path}${left[0] ?? ''}`, sent);
}

const gpu = {
  ...{ index: 0, uuid: 'GPU-1', name: 'NVIDIA GeForce RTX 4090' },
  ...{ vram_mib: 24_564, driver_version: '550' },
};
const parts = {
  cpus: [
    {
      ...{ name: 'AMD EPYC', vendor: 'AuthenticAMD', num_cores: 16, num_threads: 32 },
      ...{ base_clock_mhz: 2_450, features: ['avx2'] },
    },
  ],
  hard_drives: [{ name: 'nvme0n1', model: 'Samsung', size_bytes: 2e12, is_rotational: false }],
};
const load: NodeLoad = {
  ...{ cpu_cores: 1.5, memory_bytes: 3e9, gpu_utilisation: 0.355, gpu_memory_bytes: 2 ** 30 },
  ...{ network_rx_bytes: 10, network_tx_bytes: 20, disk_read_bytes: 0, disk_written_bytes: 0 },
  ...{ core_loads: [0.5, 1], memory_free_bytes: 5e9, memory_total_bytes: 8e9 },
  ...{ storage_free_bytes: 6e10, storage_total_bytes: 1e11 },
  gpus: [{ uuid: gpu.uuid, utilisation: 0.355, memory_used_bytes: 2 ** 30 }],
};

/** A node with two cards and a sample, and a running job made of every field of the create body. */
async function nodeAndJob(): Promise<void> {
  const node = await nodes.connect();
  const gpus = [gpu, { ...gpu, index: 1, uuid: 'GPU-2' }];
  node.agent.send({ type: 'inventory', inventory: { ...anInventory(), gpus, parts } });
  node.agent.send({ type: 'sample', span_ms: 10_000, node: load, runs: [] });
  await eventually('cards and a sample', async () => {
    const found = await nodes.get(node);
    return found.gpus.length === 2 && found.latest_hardware_event !== null;
  });
  const body = { ...createSample, allowed_region_codes: [node.region] };
  const created = await ask<Job>('POST /v1/jobs', [], { body });
  const { runs } = await node.agent.next('desired');
  const order = runs[0] ?? assert.fail('the job was placed');
  const digest = `sha256:${'ab'.repeat(32)}`;
  await node.agent.report(order, { ...runsNow, image_digest: digest, ports: [8000, 22] } as typeof runsNow);
  const ssh = { container_port: 22, is_ready: true, host_key: 'SHA256:abc' };
  await node.agent.report(order, { kind: 'port', ...ssh });
  seen.set('Job', await ask<Job>('GET /v1/jobs/{uuid}', [created.uuid]));
  seen.set('Job run, with its logs', await ask('GET /v1/job-runs/{uuid}', [order.run_uuid]));
  await seeItem('Job run in a list, without logs', 'GET /v1/job-runs', `?filter[job_uuid]=${created.uuid}`);
  await ask('GET /v1/jobs-runs');
  seen.set('Node', await ask('GET /v1/nodes/{uuid}', [node.id]));
  assert.deepEqual((await ask<ListEnvelope<object>>('GET /v1/nodes')).total, 1);
  await seeItem('Offer', 'GET /v1/compute/offers', '?filter[gpu_count]=1');
  await ask('PUT /v1/jobs/{uuid}/cancel', [created.uuid], { body: { reason: 'Cancelled by user' } });
  await node.agent.report(order, { ...endsWith(143), exit_signal: 'SIGTERM' } as ReturnType<typeof endsWith>);
  seen.set('stopped', await ask('GET /v1/job-runs/{uuid}', [order.run_uuid]));
  seen.set('waiting', await pendingJob(node.region));
}

/** A job that asks for more than the node has. */
async function pendingJob(region: string): Promise<Job> {
  const body = aJob({ gpu_count: 3, allowed_region_codes: [region] });
  const { uuid } = await server.admin.createJob(body);
  return eventually('a reason to wait', async () => {
    const job = await server.admin.getJob(uuid);
    return job.pending_reason !== null && job;
  });
}

async function seeItem(title: string, route: string, query = ''): Promise<void> {
  const { data } = await ask<ListEnvelope<object>>(route, [query]);
  seen.set(title, data[0] ?? assert.fail(`${route}${query} has an item`));
}

async function recipes(): Promise<void> {
  const payload = { ...createSample, image_size_bytes: 1_000_000 };
  const inputs = [
    {
      ...{ key: 'size', type: 'select', label: 'Size', required: true, description: 'of the model' },
      ...{ placeholder: 'small', default_value: 's', options: [{ label: 'Small', value: 's' }] },
    },
  ];
  const body = { name: 'every field', payload, input_schema: inputs };
  const { uuid } = await ask<Recipe>('POST /v1/job-recipes', [], { body });
  const shown = await ask<Recipe>('GET /v1/job-recipes/{uuid}', [uuid]);
  seen.set('Recipe', shown);
  seen.set('Payload of a recipe', shown.payload);
  for (const overrides of [{}, createSample]) {
    const job = await ask<Job>('POST /v1/job-recipes/{uuid}/cook', [uuid], { body: overrides });
    assert.equal(job.source_recipe_uuid, uuid);
  }
  await ask('PUT /v1/job-recipes/{uuid}', [uuid], { body: { name: 'another' } });
  await ask('POST /v1/job-recipes/{uuid}/fork', [uuid], { body: {} });
  await ask('PUT /v1/job-recipes/{uuid}/archive', [uuid]);
  const official = await ask<ListEnvelope<Recipe>>('GET /v1/job-recipes', ['?filter[is_official]=true']);
  assert.ok(official.total > 0);
}

async function moneyAndPeople(): Promise<void> {
  const account = server.storage.account.id;
  await ask('POST /v1/accounts/{uuid}/credits', [account], {
    body: { amount_usd: 5, description: 'a gift' },
  });
  await seeItem('Ledger transaction', 'GET /v1/compute/ledger/transactions', '?limit=20&sort=-created_at');
  const user = await ask<User>('POST /v1/users', [], { body: { email: 'ann@example.org' } });
  const key = await ask<CreatedApiKey>('POST /v1/api-keys', [], {
    body: { name: 'of ann', user_uuid: user.uuid },
  });
  seen.set('API key, as it is created', key);
  const client = server.client({ publicKey: key.public_key, secretKey: key.secret_key });
  const me = await ask<User>('GET /v1/users/me', [], { client });
  seen.set('The user who asks', me);
  seen.set('Balance', await ask('GET /v1/accounts/{uuid}/balance', [me.uuid], { client }));
}

before(async () => {
  await moneyAndPeople();
  await nodeAndJob();
  await recipes();
  await seeItem('GPU registry entry', 'GET /v1/gpu-registry', '?filter[only_available]=true');
  seen.set('List', await ask('GET /v1/jobs'));
  seen.set('Key set of the tokens', await ask('GET /.well-known/jwks', [], { isSigned: false }));
  const refused = await server.admin.send('GET', '/v1/jobs/unknown');
  assert.equal(refused.status, 404);
  seen.set('Error', refused.body);
});

for (const object of referenceObjects) {
  const { title, at, fields } = object;
  if (at.part === 'body') {
    test(`${title}: everything that a client may send is taken`, () => takes(object));
  } else {
    test(`${title}: every documented field is answered, of its type`, () => {
      assert.ok(seen.has(title), `${title} was asked for`);
      assert.deepEqual(fieldProblems(seen.get(title), fields), []);
      if (title.endsWith('without logs')) assert.ok(!('logs' in (seen.get(title) as object)));
    });
    test(`${title}: the document promises the fields, and says where it promises another type`, () => {
      if (at.inside === undefined) assert.deepEqual(promiseProblems(object), []);
    });
  }
}

/** Of an answer: what ours may say beyond the reference is a difference that is told. */
function promiseProblems(object: ReferenceObject): string[] {
  const schema = schemaAt(document, object.at);
  return object.fields.flatMap(([name, type, , difference]) => {
    const found = schemaOf(schema, name);
    if (found === undefined) return [`${name} is not in the document`];
    if (!found.isRequired && !name.endsWith('?')) return [`${name} may be absent`];
    const ours = typeOf(found.schema);
    if (difference !== undefined) return [];
    if (!isReadableAs(ours, type))
      return [`${name} may be ${ours.join(' | ')}, which ${type} does not cover`];
    const lost = alternatives(type).filter((one) => one.startsWith("'") && !ours.includes(one));
    return lost.map((word) => `${name} is never ${word}`);
  });
}

/** Of a body: what the reference takes is taken, and no more is required. */
function takes({ at, fields }: ReferenceObject): void {
  if (at.inside !== undefined) {
    assert.ok(asked.has(at.route));
    return;
  }
  const schema = schemaAt(document, at);
  for (const [name, type] of fields) {
    const found = schemaOf(schema, name) ?? assert.fail(`${name} is not in the document`);
    if (name.endsWith('?')) assert.equal(found.isRequired, false, `${name} is not required`);
    const ours = typeOf(found.schema);
    for (const one of alternatives(type)) {
      assert.ok(ours.includes(one) || (one === 'string' && ours.includes('uuid')), `${name} takes ${one}`);
    }
  }
}

test('the create body may be as small as older guides have it', async () => {
  const { parameters } = createSample;
  const body = { title: 'small', max_timeout_run_ms: 60_000, parameters };
  assert.equal((await ask<Job>('POST /v1/jobs', [], { body })).task, 'BATCH');
  const persistent = { task: 'PERSISTENT', title: 'for good', max_timeout_run_ms: null, parameters };
  assert.equal((await ask<Job>('POST /v1/jobs', [], { body: persistent })).max_timeout_run_ms, null);
});

for (const { route, query = {} } of endpoints) {
  for (const [name, value] of Object.entries(query)) {
    test(`${route} takes ${name}=${value}`, async () => {
      const [method = '', path = ''] = route.split(' ');
      const named = document.paths[path]?.[method.toLowerCase()]?.parameters ?? [];
      assert.ok(named.some((parameter) => parameter.in === 'query' && parameter.name === name));
      const list = await ask<ListEnvelope<object>>(route, [`?${name}=${encodeURIComponent(value)}`]);
      assert.deepEqual(fieldProblems(list, [['data', 'array', '']]), []);
    });
  }
}

function answered<T>(title: string): T {
  return (seen.get(title) ?? assert.fail(`${title} was asked for`)) as T;
}

test('what ours adds to jobs and runs says what is', () => {
  const run = answered<JobRun>('Job run, with its logs');
  assert.deepEqual(run.gpu_uuids.length, 1);
  assert.match(run.image_digest ?? '', /^sha256:(ab){32}$/);
  assert.equal(run.container_access_tokens[0]?.user, 'duser');
  assert.equal(run.node_urls.at(-1)?.host_key_fingerprint, 'SHA256:abc');
  assert.deepEqual([run.exit_signal, run.teardown, run.status_reason], [null, null, null]);
  const stopped = answered<JobRun>('stopped');
  assert.equal(stopped.exit_signal, 'SIGTERM');
  assert.equal(stopped.status_reason, 'Cancelled by user');
  assert.ok(Date.parse(stopped.teardown?.deadline_at ?? '') > Date.parse(stopped.created_at));
  assert.ok(Date.parse(stopped.updated_at) > Date.parse(run.updated_at));
  const { pending_reason: reason } = answered<Job>('waiting');
  assert.equal(reason?.nodes_considered, 1);
  assert.deepEqual(Object.values(reason?.excluded ?? {}), [1]);
  assert.match(reason?.would_fit ?? '', /GPU/);
});

test('what ours adds to nodes, models and offers says what is', () => {
  const node = answered<Node>('Node');
  assert.deepEqual([node.labels, node.isolation], [{}, 'enforced']);
  const states = node.gpus.map((card) => [card.is_allocated, card.is_quarantined, card.quarantine_reason]);
  assert.deepEqual(states.sort(), [
    [false, false, null],
    [true, false, null],
  ]);
  const { rams, gpu_note: gpuNote, isolation_note: isolationNote } = node.current_hardware ?? assert.fail();
  assert.deepEqual([rams[0]?.memory_gb_max, gpuNote ?? null, isolationNote ?? null], [32, null, null]);
  const model = answered<GpuRegistryEntry>('GPU registry entry');
  assert.deepEqual([model.name, model.total_count], ['NVIDIA GeForce RTX 4090', 2]);
  assert.ok(Date.parse(model.updated_at) >= Date.parse(model.created_at));
  const { availability } = answered<Offer>('Offer');
  assert.deepEqual(availability, { gpu_count: 1, gpu_count_total: 2, cpu_cores: 4 });
});

test('what ours adds to money, users and keys says what is', () => {
  const account = server.storage.account.id;
  const { uuid, created_at, ...transaction } = answered<LedgerTransaction>('Ledger transaction');
  assert.deepEqual(transaction, {
    ...{ object: 'ledger_transaction', account_uuid: account, kind: 'credit', amount_usd: 5 },
    ...{ balance_usd: 5, currency: 'USD', job_uuid: null, job_run_uuid: null, billed_ms: null },
    description: 'a gift',
  });
  const key = answered<CreatedApiKey>('API key, as it is created');
  assert.equal(key.node_uuid, null);
  const me = answered<Me>('The user who asks');
  assert.deepEqual([me.account_name, me.api_key_uuid], ['admin', key.uuid]);
  const [jwk] = answered<JwkSet>('Key set of the tokens').keys;
  assert.deepEqual([jwk?.kty, jwk?.crv, jwk?.use, jwk?.y.length], ['EC', 'P-256', 'sig', 43]);
});

test('every endpoint of the reference was asked', () => {
  const documented = endpoints.filter(({ reference }) => reference !== '').map(({ route }) => route);
  assert.ok(documented.length > 15);
  assert.deepEqual(
    documented.filter((route) => !asked.has(route)),
    [],
  );
});

test('a field list can fail', () => {
  const value = { a: { b: 1 }, list: [{ c: 'x' }, {}], word: 'NEW', empty: [] };
  const fields = [
    ['a.b', 'string', ''],
    ['list[].c', 'string', ''],
    ['word', "'OLD' | 'OLDER'", ''],
    ['empty[].d', 'string', ''],
    ['gone', 'unknown', ''],
    ['gone?', 'string', ''],
  ] as const;
  assert.deepEqual(fieldProblems(value, fields), [
    'a.b is 1, not string',
    'list[].c is missing',
    "word is \"NEW\", not 'OLD' | 'OLDER'",
    'empty[].d: the list around it is empty, so that it was not seen',
    'gone is missing',
  ]);
});
