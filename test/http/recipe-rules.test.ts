// What recipes promise beside cooking: errors that name inputs, secrets nowhere to be read, versions under changes, repeats.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Job } from '../../src/protocol/job.ts';
import type { ListEnvelope } from '../../src/protocol/list.ts';
import type { Recipe } from '../../src/protocol/recipe.ts';
import { aJob } from '../support/builders.ts';
import { createHandNodes, runsNow } from '../support/hand-nodes.ts';
import { eventually, startTestServer } from '../support/server.ts';

const server = await startTestServer();
const { admin, database } = server;
const other = server.client(
  await server.createKey({ preset: 'admin', accountId: await server.createAccount('another') }),
);
const path = '/v1/job-recipes';
const place = (key: string) => `\${${key}}`;
const create = (body: object, client = admin) => client.ask<Recipe>('POST', path, { body });
const cook = (uuid: string, body: object = {}) => admin.ask<Job>('POST', `${path}/${uuid}/cook`, { body });
const refused = (uuid: string, body: object) => admin.refusal('POST', `${path}/${uuid}/cook`, { body });
const pathsOf = ({ details }: { details?: unknown }) => (details as { path: string }[]).map((it) => it.path);

/** Every row of every table as text; bytes are in it as hexadecimal digits. */
async function dump(): Promise<string> {
  const tables = await database.query<{ name: string }>(
    `select format('%I.%I', schemaname, tablename) as name from pg_tables
     where schemaname not in ('pg_catalog', 'information_schema')`,
  );
  const rows = await Promise.all(
    tables.map(({ name }) => database.query<{ text: string }>(`select t::text as text from ${name} t`)),
  );
  return rows.flatMap((found) => found.map(({ text }) => text)).join('\n');
}

test('each type: default, wrong value, absent, all told at once by the input, and nothing made', async () => {
  const recipe = await create({
    name: 'typed',
    payload: aJob({
      title: place('t'),
      cpu_count: place('n'),
      min_ram_gb: place('m'),
      start_timeout_waits_for_pull: place('b'),
      gpu_name: place('s'),
      container: { sshkey: place('k'), env: { E: place('x') } },
    }),
    input_schema: [
      { key: 't', type: 'text', default_value: 'some' },
      { key: 'n', type: 'number', default_value: 2.5 },
      { key: 'm', type: 'number' },
      { key: 'b', type: 'boolean', default_value: true },
      { key: 's', type: 'select', options: [{ label: 'A', value: 'RTX 4090' }], default_value: 'RTX 4090' },
      { key: 'k', type: 'ssh_key' },
      { key: 'x', type: 'secret' },
    ],
  });
  const job = await cook(recipe.uuid);
  const { env, sshkey } = job.parameters.parameters;
  assert.deepEqual(
    [job.title, job.cpu_count, job.min_ram_gb, job.start_timeout_waits_for_pull, job.gpu_name, sshkey],
    ['some', 2.5, 0, true, 'RTX 4090', ''],
  );
  assert.deepEqual(env, { E: '***' });
  const before = await admin.ask<ListEnvelope<Job>>('GET', '/v1/jobs');
  const wrong = { t: 1, n: '2', m: [], b: 'true', s: 'A', k: 'hello', x: 7, unknown: 1 };
  const all = await refused(recipe.uuid, { inputs: wrong, gpu_count: -1, nonsense: 1 });
  const expected = ['t', 'n', 'm', 'b', 's', 'k', 'x', 'unknown'].map((key) => `inputs.${key}`);
  assert.deepEqual(pathsOf(all).sort(), [...expected, 'gpu_count', 'nonsense'].sort());
  const outside = await refused(recipe.uuid, { inputs: { n: -1, m: 1e9 } });
  assert.deepEqual(pathsOf(outside).sort(), ['inputs.m', 'inputs.n']);
  assert.match(outside.message, /cpu_count/);
  assert.deepEqual(pathsOf(await refused(recipe.uuid, { inputs: { n: -1 }, cpu_count: -2 })), ['cpu_count']);
  for (const inputs of [7, 'x', []])
    assert.deepEqual(pathsOf(await refused(recipe.uuid, { inputs })), ['inputs']);
  assert.equal((await admin.ask<ListEnvelope<Job>>('GET', '/v1/jobs')).total, before.total);
});

test('an optional input that would leave a needed field empty is refused with the recipe', async () => {
  const input_schema = [{ key: 'image', type: 'text' }];
  const payload = aJob({ container: { image: place('image') } });
  const refusal = await admin.refusal('POST', path, { body: { name: 'x', payload, input_schema } });
  assert.deepEqual(pathsOf(refusal), ['payload.parameters.parameters.image']);
  const asked = [{ key: 'image', type: 'text', required: true }];
  const recipe = await create({ name: 'asks', payload, input_schema: asked });
  assert.deepEqual(pathsOf(await refused(recipe.uuid, {})), ['inputs.image']);
  assert.deepEqual(pathsOf(await refused(recipe.uuid, { inputs: { image: 'No Such' } })), ['inputs.image']);
});

test('a secret is nowhere to be read: answers, events, audit, receipts, logs, and no table', async () => {
  const canary = 'canary7Qx9';
  const container = {
    ...{ host: 'registry.example.com', user: 'u', secret: place('password') },
    env: { TOKEN: `Bearer ${place('token')}` },
  };
  const nodes = createHandNodes(server);
  const node = await nodes.connect();
  const recipe = await create({
    name: 'secretive',
    payload: aJob({ allowed_region_codes: [node.region], max_cost_usd: 5, container }),
    input_schema: [
      { key: 'token', type: 'secret', required: true },
      { key: 'password', type: 'secret', required: true },
    ],
  });
  const inputs = { token: canary, password: `${canary}2` };
  const headers = { 'idempotency-key': 'once' };
  const ask = { body: { inputs }, headers };
  const job = await admin.ask<Job>('POST', `${path}/${recipe.uuid}/cook`, ask);
  const order = await eventually('its order', async () => {
    const { runs } = await node.agent.next('desired');
    return runs.find((run) => run.job_uuid === job.uuid);
  });
  assert.ok(JSON.stringify(order).includes(`Bearer ${canary}`), 'the container gets it');
  await node.agent.report(order, runsNow);
  await admin.ask('PUT', `/v1/jobs/${job.uuid}/cancel`, { body: {} });
  const answers: unknown[] = [job, await admin.ask<Job>('POST', `${path}/${recipe.uuid}/cook`, ask)];
  const wrongs = [
    { inputs: { ...inputs, token: [canary] } },
    { inputs, title: 7 },
    { inputs: { ...inputs, password: '***' } },
    { inputs: { ...inputs, token: canary.repeat(20_000) } },
  ];
  for (const body of wrongs) {
    const { code, message, details } = await refused(recipe.uuid, body);
    answers.push([code, message, details]);
  }
  const runUuid = order.run_uuid;
  const routes = [
    ...[`/v1/jobs/${job.uuid}`, `/v1/jobs/${job.uuid}/events`, '/v1/jobs', '/v1/job-runs', '/v1/audit-log'],
    ...[`/v1/job-runs/${runUuid}`, `/v1/job-runs/${runUuid}/receipt`, `${path}/${recipe.uuid}`, path],
  ];
  for (const route of routes) answers.push(await admin.ask('GET', route));
  answers.push(await admin.ask('POST', `${path}/${recipe.uuid}/fork`, { body: {} }));
  const told = JSON.stringify(answers);
  assert.ok(told.includes(recipe.uuid) && !told.includes(canary), 'no answer has it');
  const text = await dump();
  assert.ok(text.includes(job.uuid) && text.includes('secretive'), 'the dump has the job and the recipe');
  assert.ok(!text.includes(canary) && !text.includes(Buffer.from(canary).toString('hex')), 'no table has it');
  assert.ok(!server.logLines.join('\n').includes(canary), 'no log line has it');
  nodes.close();
});

test('a public recipe holds no secret, and its fork in another account has none', async () => {
  const withSecret = (secret: string) => ({ host: 'registry.example.com', user: 'u', secret });
  const field = 'payload.parameters.parameters.secret';
  for (const secret of ['plain', `half${place('p')}`]) {
    const input_schema = secret === 'plain' ? [] : [{ key: 'p', type: 'secret', required: true }];
    const body = { name: 'x', payload: aJob({ container: withSecret(secret) }), input_schema };
    const refusal = await admin.refusal('POST', path, { body: { ...body, visibility: 'PUBLIC' } });
    assert.deepEqual(pathsOf(refusal), [field]);
    const shown = JSON.stringify(await create(body));
    assert.ok(!shown.includes('half') && !shown.includes('plain'), 'nor is it shown to its own account');
  }
  const typed = { name: 'x', payload: aJob({ container: withSecret(place('p')) }) };
  const asText = { ...typed, input_schema: [{ key: 'p', type: 'text', default_value: 'shown' }] };
  assert.deepEqual(pathsOf(await admin.refusal('POST', path, { body: asText })), [field]);
  const input_schema = [{ key: 'p', type: 'secret', required: true }];
  const shared = await create({ ...typed, input_schema, visibility: 'PUBLIC' });
  const job = await cook(shared.uuid, { inputs: { p: 'mine4711' } });
  assert.equal(job.parameters.parameters.secret, '***');
  const copy = await other.ask<Recipe>('POST', `${path}/${shared.uuid}/fork`, { body: {} });
  assert.deepEqual(copy.payload, shared.payload);
  assert.equal((await other.refusal('POST', `${path}/${copy.uuid}/cook`, { body: {} })).status, 400);
});

test('recipes that change while they are cooked: every job is of one version, and says which', async () => {
  const payload = (version: number) =>
    aJob({ title: `v${version}`, container: { env: { V: `${version}` } } });
  const recipe = await create({ name: 'changing', payload: payload(1) });
  const update = (version: number) =>
    admin.ask<Recipe>('PUT', `${path}/${recipe.uuid}`, { body: { payload: payload(version) } });
  const changes = (async () => {
    for (let version = 2; version <= 12; version += 1) assert.equal((await update(version)).version, version);
  })();
  const cooks = Promise.all(
    Array.from({ length: 8 }, async () => {
      const jobs: Job[] = [];
      for (let index = 0; index < 8; index += 1) jobs.push(await cook(recipe.uuid));
      return jobs;
    }),
  );
  const [jobs] = [(await cooks).flat(), await changes];
  const last = await cook(recipe.uuid);
  for (const { uuid, source_recipe_version: version } of [...jobs, last]) {
    const job = await admin.getJob(uuid);
    assert.deepEqual(
      [job.title, job.parameters.parameters.env, job.source_recipe_version],
      [`v${version}`, { V: `${version}` }, version],
    );
  }
  assert.equal(last.source_recipe_version, 12);
  assert.ok(new Set(jobs.map((job) => job.source_recipe_version)).size > 1, 'cooked amid the changes');
  const together = await Promise.all(
    Array.from({ length: 6 }, () =>
      admin.ask<Recipe>('PUT', `${path}/${recipe.uuid}`, { body: { payload: payload(0) } }),
    ),
  );
  assert.equal((await admin.ask<Recipe>('GET', `${path}/${recipe.uuid}`)).version, 12 + together.length);
});

test('an Idempotency-Key is a recipe’s own, and its answer outlives change and archive', async () => {
  const one = await create({ name: 'one', payload: aJob() });
  const two = await create({ name: 'two', payload: aJob() });
  const ask = { body: {}, headers: { 'idempotency-key': 'same' } };
  const job = await admin.ask<Job>('POST', `${path}/${one.uuid}/cook`, ask);
  const conflict = await admin.refusal('POST', `${path}/${two.uuid}/cook`, ask);
  assert.equal(conflict.code, 'idempotency_conflict');
  const input_schema = [{ key: 'needed', type: 'text', required: true }];
  await admin.ask('PUT', `${path}/${one.uuid}`, { body: { input_schema } });
  assert.equal((await admin.ask<Job>('POST', `${path}/${one.uuid}/cook`, ask)).uuid, job.uuid);
  await admin.ask('PUT', `${path}/${one.uuid}/archive`, { body: {} });
  assert.equal((await admin.ask<Job>('POST', `${path}/${one.uuid}/cook`, ask)).uuid, job.uuid);
  assert.equal((await refused(one.uuid, {})).code, 'conflict');
  const change = { body: { name: 'x' } };
  assert.equal((await admin.refusal('PUT', `${path}/${one.uuid}`, change)).code, 'conflict');
  assert.equal((await admin.getJob(job.uuid)).source_recipe_uuid, one.uuid);
});

test('lists: official, visibility and the start of a name', async () => {
  const names = async (query: string) => {
    const { data } = await admin.ask<ListEnvelope<Recipe>>('GET', `${path}?limit=50&${query}`);
    return data.map(({ name }) => name);
  };
  await create({ name: 'list-a', payload: aJob() });
  await create({ name: 'list-b', payload: aJob(), visibility: 'PUBLIC' });
  await create({ name: 'list-c', payload: aJob(), visibility: 'PUBLIC' }, other);
  assert.deepEqual((await names('filter[name]=list-')).sort(), ['list-a', 'list-b', 'list-c']);
  assert.deepEqual(await names('filter[name]=list-&filter[visibility]=PRIVATE'), ['list-a']);
  assert.deepEqual(await names('filter[name]=SSH&filter[is_official]=true'), ['SSH box']);
  assert.deepEqual(await names('filter[name]=list-&filter[is_official]=true'), []);
  assert.deepEqual(await names('filter[name]=%25'), []);
});
