// Recipes on real SQL: versions, who sees what, cooking, secrets that are never shown again, and the official ones.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { officialRecipes } from '../../src/api/official-recipes.ts';
import type { Job } from '../../src/protocol/job.ts';
import type { ListEnvelope } from '../../src/protocol/list.ts';
import type { Recipe } from '../../src/protocol/recipe.ts';
import { aJob } from '../support/builders.ts';
import { startTestServer } from '../support/server.ts';

const server = await startTestServer({ hasScheduler: false });
const { admin } = server;
const otherAccount = await server.createAccount('another');
const other = server.client(await server.createKey({ preset: 'admin', accountId: otherAccount }));
const path = '/v1/job-recipes';
const llama = '01a0114e-e7f8-4e76-a07a-f09fca41e2be';

const place = (key: string) => `\${${key}}`;
const create = (body: object) => admin.ask<Recipe>('POST', path, { body });
const cook = (uuid: string, body: object = {}) => admin.ask<Job>('POST', `${path}/${uuid}/cook`, { body });
const list = (query = '', client = admin) => client.ask<ListEnvelope<Recipe>>('GET', `${path}${query}`);
const payload = (fields: Record<string, unknown> = {}) => aJob({ title: 'from a recipe', ...fields });

function withoutOrigin(job: Job) {
  const { uuid, created_at, updated_at, timeout_assign_at_ms, source_recipe_uuid, ...rest } = job;
  const { source_recipe_version, ...fields } = rest;
  return fields;
}

test('cook makes exactly what create makes of the same body', async () => {
  const bodies = [
    payload(),
    payload({ gpu_count: 2, gpu_name: 'RTX 4090', min_vram_gb: 20, labels: { a: 'b' }, max_retry_count: 2 }),
    payload({ task: 'PERSISTENT', max_timeout_run_ms: null, allowed_region_codes: ['eu-west-1'] }),
    payload({
      container: { env: { A: 'x$y', B: '' }, ports: [22, 80], command: ['sh', '-c', 'echo $HOME'] },
    }),
    payload({ container: { volumes: [{ image: 'files', mount: '/data' }], sshkey: 'ssh-ed25519 AAAA me' } }),
  ];
  for (const body of bodies) {
    const recipe = await create({ name: 'plain', payload: body });
    const cooked = await cook(recipe.uuid);
    assert.deepEqual(withoutOrigin(cooked), withoutOrigin(await admin.createJob(body)));
    assert.deepEqual([cooked.source_recipe_uuid, cooked.source_recipe_version], [recipe.uuid, 1]);
  }
});

test('inputs fill places, with defaults, types and what is wrong told by key', async () => {
  const recipe = await create({
    name: 'typed',
    payload: payload({ cpu_count: place('cpus'), title: `run of ${place('model')}` }),
    input_schema: [
      { key: 'cpus', type: 'number', default_value: 2 },
      {
        key: 'model',
        type: 'select',
        required: true,
        options: [
          { label: 'S', value: 's' },
          { label: 'L', value: 'l' },
        ],
      },
    ],
  });
  const job = await cook(recipe.uuid, { inputs: { model: 'l' } });
  assert.deepEqual([job.cpu_count, job.title], [2, 'run of l']);
  const wrong = { inputs: { cpus: 'two', model: 'x', other: 1 } };
  const refusal = await admin.refusal('POST', `${path}/${recipe.uuid}/cook`, { body: wrong });
  assert.deepEqual(
    (refusal.details as { path: string }[]).map((issue) => issue.path),
    ['inputs.cpus', 'inputs.model', 'inputs.other'],
  );
  assert.equal(
    (await admin.refusal('POST', `${path}/${recipe.uuid}/cook`, { body: {} })).code,
    'validation_failed',
  );
});

test('overrides replace fields, as older clients send them too; one name of a GPU clears the other', async () => {
  const recipe = await create({
    name: 'gpu',
    payload: payload({ gpu_count: 1, gpu_name: 'RTX 4090', container: { env: { A: '1', B: '2' } } }),
  });
  const registry = '0198ac1c-7063-4be8-bb94-57a5bd83548e';
  const job = await cook(recipe.uuid, {
    task: 'PERSISTENT',
    max_timeout_run_ms: null,
    gpu_registry_uuid: registry,
    parameters: { parameters: { tag: '2', env: { B: '3' } } },
  });
  assert.deepEqual([job.gpu_name, job.gpu_registry_uuid, job.task], [null, registry, 'PERSISTENT']);
  assert.deepEqual(job.parameters.parameters.env, { A: '1', B: '3' });
  const literal = await cook(recipe.uuid, { title: place('not_filled') });
  assert.equal(literal.title, place('not_filled'));
});

test('an input is shown with every field, whatever its maker left out, and may be put back so', async () => {
  const recipe = await create({
    name: 'bare',
    payload: payload(),
    input_schema: [{ key: 'k', type: 'text' }],
  });
  assert.deepEqual(recipe.input_schema, [
    {
      ...{ key: 'k', type: 'text', label: 'k', required: false, description: null },
      ...{ placeholder: null, default_value: null, options: [] },
    },
  ]);
  const body = { input_schema: recipe.input_schema };
  const again = await admin.ask<Recipe>('PUT', `${path}/${recipe.uuid}`, { body });
  assert.deepEqual(again.input_schema, recipe.input_schema);
});

test('a secret input reaches the job and is never shown again', async () => {
  const recipe = await create({
    name: 'secretive',
    payload: payload({ container: { env: { TOKEN: `Bearer ${place('token')}`, PLAIN: 'seen' } } }),
    input_schema: [{ key: 'token', type: 'secret', required: true }],
  });
  const job = await cook(recipe.uuid, { inputs: { token: 'hunter2' } });
  assert.deepEqual(job.parameters.parameters.env, { TOKEN: '***', PLAIN: 'seen' });
  const read = await admin.getJob(job.uuid);
  assert.deepEqual(read.parameters.parameters.env, { TOKEN: '***', PLAIN: 'seen' });
  const body = {
    name: 'x',
    payload: payload({ title: place('t') }),
    input_schema: [{ key: 't', type: 'secret' }],
  };
  const refusal = await admin.refusal('POST', path, { body });
  assert.match(refusal.message, /payload\.title/);
});

test('registry secrets are masked, used by cook and fork, and kept out of public recipes', async () => {
  const container = { host: 'registry.example.com', user: 'u', secret: 's3cret' };
  const recipe = await create({ name: 'private image', payload: payload({ container }) });
  const shown = recipe.payload as { parameters: { parameters: { secret: string } } };
  assert.equal(shown.parameters.parameters.secret, '***');
  assert.equal((await cook(recipe.uuid)).parameters.parameters.secret, '***');
  const posted = await admin.refusal('POST', path, { body: { name: 'back', payload: shown } });
  assert.equal(posted.code, 'validation_failed');
  const publish = { body: { visibility: 'PUBLIC' } };
  assert.match((await admin.refusal('PUT', `${path}/${recipe.uuid}`, publish)).message, /secret/);
});

test('a change of content is a new version; a job keeps the one it was cooked from', async () => {
  const recipe = await create({ name: 'versioned', payload: payload({ title: 'one' }) });
  const first = await cook(recipe.uuid);
  const renamed = await admin.ask<Recipe>('PUT', `${path}/${recipe.uuid}`, { body: { name: 'renamed' } });
  assert.deepEqual([renamed.name, renamed.version], ['renamed', 1]);
  const body = { payload: payload({ title: 'two' }) };
  assert.equal((await admin.ask<Recipe>('PUT', `${path}/${recipe.uuid}`, { body })).version, 2);
  const second = await cook(recipe.uuid);
  assert.deepEqual([second.title, second.source_recipe_version], ['two', 2]);
  assert.equal((await admin.getJob(first.uuid)).source_recipe_version, 1);
  const jobs = await admin.ask<ListEnvelope<Job>>('GET', `/v1/jobs?filter[recipe_uuid]=${recipe.uuid}`);
  assert.deepEqual(jobs.data.map(({ uuid }) => uuid).sort(), [first.uuid, second.uuid].sort());
});

test('private ones are nobody else’s; public ones are seen, cooked and forked, not changed', async () => {
  const hidden = await create({ name: 'hidden', payload: payload() });
  assert.equal((await other.refusal('GET', `${path}/${hidden.uuid}`)).status, 404);
  const shared = await create({ name: 'shared', payload: payload(), visibility: 'PUBLIC' });
  const seen = await other.ask<Recipe>('GET', `${path}/${shared.uuid}`);
  assert.deepEqual([seen.is_owner, seen.is_official], [false, false]);
  const job = await other.ask<Job>('POST', `${path}/${shared.uuid}/cook`, { body: {} });
  assert.equal(job.source_recipe_uuid, shared.uuid);
  const change = { body: { name: 'mine now' } };
  assert.equal((await other.refusal('PUT', `${path}/${shared.uuid}`, change)).code, 'permission_denied');
  const copy = await other.ask<Recipe>('POST', `${path}/${shared.uuid}/fork`, { body: { name: 'copy' } });
  assert.deepEqual(
    [copy.is_owner, copy.forked_from_recipe_uuid, copy.visibility],
    [true, shared.uuid, 'PRIVATE'],
  );
  await admin.ask('PUT', `${path}/${shared.uuid}/archive`, { body: {} });
  assert.equal((await other.refusal('GET', `${path}/${shared.uuid}`)).status, 404);
  assert.equal((await admin.refusal('POST', `${path}/${shared.uuid}/cook`, { body: {} })).code, 'conflict');
  assert.ok(!(await list('?limit=50')).data.some(({ uuid }) => uuid === shared.uuid));
  assert.ok((await list('?filter[visibility]=ARCHIVED')).data.some(({ uuid }) => uuid === shared.uuid));
});

test('what a recipe holds is checked as a create body is, and its inputs against it', async () => {
  const wrongs: [object, RegExp][] = [
    [{ payload: payload({ gpu_count: -1 }) }, /payload\.gpu_count/],
    [{ payload: payload({ title: place('nobody') }) }, /payload\.title/],
    [{ payload: payload(), input_schema: [{ key: 'a', type: 'select' }] }, /input_schema\[0\]\.options/],
    [
      { payload: payload(), input_schema: [{ key: 'a', type: 'number', default_value: 'x' }] },
      /default_value/,
    ],
    [
      {
        payload: payload(),
        input_schema: [
          { key: 'a', type: 'text' },
          { key: 'a', type: 'text' },
        ],
      },
      /\[1\]\.key/,
    ],
    [{ payload: 7 }, /payload/],
  ];
  for (const [body, path_] of wrongs) {
    const refusal = await admin.refusal('POST', path, { body: { name: 'wrong', ...body } });
    assert.equal(refusal.code, 'validation_failed');
    assert.match(refusal.message, path_);
  }
  const posted = await admin.refusal('POST', '/v1/jobs', { body: { recipe_uuid: llama, task_type: 'x' } });
  assert.match(posted.message, /cook/);
});

test('official recipes are shipped, and each cooks with {}', async () => {
  const { data } = await list('?filter[is_official]=true');
  assert.deepEqual(data.map(({ uuid }) => uuid).sort(), officialRecipes.map(({ id }) => id).sort());
  for (const recipe of data) {
    assert.ok(recipe.is_official && recipe.quickstart_md);
    const job = await cook(recipe.uuid);
    assert.equal(job.source_recipe_uuid, recipe.uuid);
    assert.equal((await admin.refusal('PUT', `${path}/${recipe.uuid}`, { body: { name: 'x' } })).status, 403);
  }
  assert.ok((await admin.ask<Recipe>('GET', `${path}/${llama}`)).last_used_at);
});

test('an Idempotency-Key cooks once', async () => {
  const recipe = await create({ name: 'once', payload: payload() });
  const headers = { 'idempotency-key': 'cook-once' };
  const ask = () => admin.ask<Job>('POST', `${path}/${recipe.uuid}/cook`, { body: {}, headers });
  assert.equal((await ask()).uuid, (await ask()).uuid);
});
