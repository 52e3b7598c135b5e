// The document and its page; that every answer of this suite fits the document is checked by the tests' client.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Compile } from 'typebox/compile';
import { aJob } from '../support/builders.ts';
import { createResponseCheck, fetchOpenApi } from '../support/openapi-check.ts';
import { startTestServer } from '../support/server.ts';
import { authorisedRoutes } from './authorisation-routes.ts';

const server = await startTestServer();
const document = await fetchOpenApi(server.url);

function operationOf(route: string) {
  const [method = '', path = ''] = route.split(' ');
  const operation = document.paths[path]?.[method.toLowerCase()];
  assert.ok(operation, `${route} is in the document`);
  return operation;
}

test('is OpenAPI 3.1 with a security scheme per signature header', async () => {
  assert.match(document.openapi, /^3\.1\.\d$/);
  const { components } = document as unknown as {
    components: { securitySchemes: Record<string, { in: string; name: string }> };
  };
  const { bearer, ...signature } = components.securitySchemes;
  assert.ok(bearer);
  const headers = Object.values(signature).map((scheme) => `${scheme.in} ${scheme.name}`);
  assert.deepEqual(headers.sort(), [
    'header X-API-Key',
    'header X-Nonce',
    'header X-Signature',
    'header X-Time',
  ]);
});

/** Every POST makes something, but the one that stops. */
function isCreate(route: string): boolean {
  return route.startsWith('POST') && !/\/(cancel|renew|rotate|redeliver)$/.test(route);
}

/** A create also answers what it would do, when asked for that alone. */
function statusesOf(route: string): string[] {
  if (route === 'POST /v1/jobs') return ['200', '201'];
  return [isCreate(route) ? '201' : '200'];
}

for (const route of authorisedRoutes) {
  test(`${route} has a summary, its answer, its refusal, its body and its parameters`, () => {
    const operation = operationOf(route);
    assert.ok(operation.summary);
    const answers = Object.entries(operation.responses);
    assert.deepEqual(
      answers.map(([status]) => status),
      [...statusesOf(route), 'default'],
    );
    for (const [status, { content }] of answers) {
      if (content && 'application/x-tar' in content) continue;
      const schema = content?.['application/json']?.schema;
      assert.ok(schema && 'properties' in schema, `the ${status} answer has fields`);
    }
    const hasBody = route.startsWith('POST') || route.startsWith('PUT');
    assert.equal(operation.requestBody !== undefined, hasBody);
    const inPath = operation.parameters?.filter((parameter) => parameter.in === 'path') ?? [];
    assert.equal(inPath.length, route.split('{').length - 1);
  });
}

test('lists name their filters', () => {
  const names = (route: string) =>
    (operationOf(route).parameters ?? [])
      .filter(({ in: place }) => place === 'query')
      .map(({ name }) => name);
  const paging = ['limit', 'page', 'sort'];
  const filters = ['status', 'task', 'uuid', 'created_at', 'cpu_count', 'gpu_count', 'label', 'teardown'];
  filters.push('title_prefix', 'older_than_ms', 'title', 'recipe_uuid');
  const minimums = ['min_ram_gb', 'min_storage_gb', 'min_vram_gb'];
  const all = [...filters, ...minimums].map((filter) => `filter[${filter}]`);
  assert.deepEqual(names('GET /v1/jobs').sort(), [...paging, ...all].sort());
  assert.ok(names('GET /v1/job-runs').includes('filter[job_uuid]'));
});

test('the schema of the create body takes the plain job and refuses a wrong one', () => {
  const schema = operationOf('POST /v1/jobs').requestBody?.content['application/json']?.schema;
  assert.ok(schema);
  const compiled = Compile(schema as never);
  assert.equal(compiled.Check(aJob()), true);
  assert.equal(compiled.Check(aJob({ cpu_count: '4' })), false);
  assert.equal(compiled.Check(aJob({ cpus: 4 })), false);
});

test("the suite's check of answers can fail", async () => {
  const check = await createResponseCheck(server.url);
  const job = await server.admin.createJob(aJob());
  const answer = { method: 'GET', path: `/v1/jobs/${job.uuid}`, status: 200 };
  check({ ...answer, body: { ...job, queue_position: null } });
  assert.throws(() => check({ ...answer, body: { ...job, cpu_count: '0' } }), /cpu_count/);
  assert.throws(() => check({ ...answer, body: { ...job, surprise: 1 } }), /surprise/);
  const { title: _, ...untitled } = job;
  assert.throws(() => check({ ...answer, body: untitled }), /title/);
  assert.throws(() => check({ ...answer, status: 202, body: job }), /does not name/);
  assert.throws(() => check({ ...answer, status: 404, body: { message: 'no' } }), /error/);
});

test('/docs is a page that shows every route', async () => {
  const response = await fetch(`${server.url}/docs`);
  assert.equal(response.status, 200);
  assert.match(response.headers.get('content-type') ?? '', /^text\/html/);
  const page = await response.text();
  for (const route of authorisedRoutes) {
    const [method = '', path = ''] = route.split(' ');
    assert.ok(page.includes(path), `${path} is on the page`);
    assert.match(page, new RegExp(method, 'i'));
  }
});

test('/healthz tells that the database answers', async () => {
  const response = await fetch(`${server.url}/healthz`);
  assert.deepEqual(await response.json(), { status: 'ok', version: 'test' });
});

test('connections stay open longer than a load balancer keeps them idle', async () => {
  const { headers } = await server.admin.send('GET', '/v1/jobs');
  assert.match(String(headers['keep-alive']), /timeout=(6[5-9]|[7-9]\d|\d{3,})/);
});
