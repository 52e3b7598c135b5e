// Every route of the document, asked by one account for what another has: by path, by each filter and parameter, by each
// field of a body that names something. Nothing of the other is told, and nothing of it changes.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { newId } from '../../src/main/ids.ts';
import { aJob } from '../support/builders.ts';
import { fetchOpenApi } from '../support/openapi-check.ts';
import { startTestServer } from '../support/server.ts';
import { clusterRoutes, unsignedRoutes } from './authorisation-routes.ts';
import {
  bodyOf,
  bodySchema,
  pathOf,
  queryNames,
  type Route,
  routesOf,
  rowsOf,
  type Tenant,
  tenant,
} from './support/two-accounts.ts';

const server = await startTestServer({ hasScheduler: false });
const theirs = await tenant(server);
const mine = await tenant(server);
const routes = routesOf(await fetchOpenApi(server.url)).filter(({ name }) => !unsignedRoutes.includes(name));
const before = await rowsOf(server, theirs);
let asked = 0;

/** Nodes serve every account: what they offer is told with their id, and no more of them. */
const showsNodes = (path: string) => path.startsWith('/v1/compute/offers') || path.includes('dry_run');

/** The answer to `mine`, in which nothing of `theirs` is but what was sent. */
async function ask(route: Route, path: string, body?: object): Promise<{ status: number; text: string }> {
  asked += 1;
  const { status, text } = await mine.client.send(route.method, path, body === undefined ? {} : { body });
  assert.ok(status < 500, `${route.method} ${path} was answered ${status}: ${text}`);
  const sent = `${decodeURIComponent(path)} ${JSON.stringify(body ?? {})}`;
  const told = theirs.secrets.filter((secret) => text.includes(secret) && !sent.includes(secret));
  const allowed = showsNodes(path) ? [theirs.things.nodes] : [];
  assert.deepEqual(
    told.filter((secret) => !allowed.includes(secret)),
    [],
    `${route.method} ${path} ${JSON.stringify(body ?? {})} tells of another account: ${text}`,
  );
  return { status, text };
}

/** What a filter or field of that name could be set to, so as to name a thing of the other account. */
function valuesFor(name: string, of: Tenant): string[] {
  return /uuid|_id\b/.test(name) ? Object.values(of.things) : of.secrets.slice(0, 1);
}

const filled = (route: Route) => {
  const required = queryNames(route).filter((parameter) => parameter.required === true);
  return required.map(({ name }) => `${name}=/tmp`).join('&');
};
const withQuery = (path: string, ...queries: string[]) => {
  const query = queries.filter((part) => part !== '').join('&');
  return query === '' ? path : `${path}?${query}`;
};

for (const route of routes) {
  const { name, template } = route;
  const isOfOne = template.includes('{');
  const isOfCluster = clusterRoutes.test(name);
  const isShared = template.startsWith('/v1/gpu-registry');

  if (isOfOne && !isShared) {
    test(`${name}: another account's is as unknown`, async () => {
      const resource = template.split('/')[2] ?? '';
      assert.ok(theirs.things[resource], `add a thing of ${resource} to tenant() in support/two-accounts.ts`);
      const bodyless = bodySchema(route) === undefined;
      for (const body of bodyless ? [undefined] : [{}, bodyOf(route)]) {
        const path = withQuery(pathOf(route, theirs.things), filled(route));
        const { status, text } = await ask(route, path, body);
        const { status: upper } = await ask(
          route,
          path.replace(/[0-9a-f-]{36}/, (id) => id.toUpperCase()),
          body,
        );
        const unknown = await ask(route, withQuery(pathOf(route, {}), filled(route)), body);
        const messageOf = (answer: string) =>
          (JSON.parse(answer) as { error: { message: string } }).error.message;
        assert.deepEqual([status, upper, unknown.status], Array(3).fill(isOfCluster ? 403 : 404), text);
        assert.equal(messageOf(text), messageOf(unknown.text));
      }
    });
  }

  test(`${name}: no parameter reaches into another account`, async () => {
    // Removing what is one's own would leave nothing to ask about.
    const isLast = route.method === 'DELETE' || /\/(remove|archive)$/.test(template);
    const path = isLast ? pathOf(route, {}) : pathOf(route, mine.things);
    const body = bodyOf(route);
    const { status, text } = await ask(route, withQuery(path, filled(route)), body);
    if (route.method === 'GET' && !isOfOne && !isOfCluster) assert.equal(status, 200, text);
    for (const { name: parameter } of queryNames(route))
      for (const value of valuesFor(parameter, theirs))
        await ask(route, withQuery(path, filled(route), `${parameter}=${encodeURIComponent(value)}`), body);
  });
}

// After all that reads: what was sent here may be read back.
for (const route of routes) {
  const fields = Object.keys(bodySchema(route)?.properties ?? {}).filter((field) => /uuid|_id$/.test(field));
  if (fields.length === 0) continue;
  test(`${route.name}: ${fields.join(' and ')} of another account reach nothing of it`, async () => {
    const path = pathOf(route, mine.things);
    for (const field of fields)
      for (const value of valuesFor(field, theirs))
        await ask(route, path, { ...bodyOf(route), [field]: value });
  });
}

const routeOf = (name: string): Route => {
  const found = routes.find((route) => route.name === name);
  assert.ok(found, name);
  return found;
};
const marker = () => theirs.secrets[0] ?? '';

test('what names a thing deeper in a body, or in a text, reaches no other account', async () => {
  const { jobs, users, accounts } = theirs.things;
  const recipe = theirs.things['job-recipes'];
  const run = theirs.things['job-runs'];
  const refused = [
    ['POST /v1/jobs', '/v1/jobs', { recipe_uuid: recipe }],
    ['POST /v1/jobs', '/v1/jobs?dry_run=true', { ...aJob(), recipe_uuid: recipe }],
    ['POST /v1/api-keys', '/v1/api-keys', { account_uuid: accounts }],
    ['POST /v1/api-keys', '/v1/api-keys', { user_uuid: users }],
    ['POST /v1/users', '/v1/users', { email: 'x@example.org', account_uuid: accounts }],
    ['GET /v1/jobs/{uuid}/receipt', `/v1/jobs/${mine.things.jobs}/receipt?run_uuid=${run}`, undefined],
  ] as const;
  for (const [name, path, body] of refused) {
    const { status, text } = await ask(routeOf(name), path, body);
    assert.ok([400, 404].includes(status), `${name} ${path}: ${text}`);
  }
  for (const path of [`/v1/jobs/${jobs}/events`, `/v1/job-runs/${run}/logs`])
    await ask(routeOf('POST /v1/stream-tickets'), '/v1/stream-tickets', { path });
  for (const filter of [
    { uuid: [jobs] },
    { title_prefix: marker().slice(0, 8) },
    { labels: { of: marker() } },
  ])
    await ask(routeOf('POST /v1/jobs/cancel'), '/v1/jobs/cancel', { filter });
  await ask(routeOf('POST /v1/jobs/cancel'), '/v1/jobs/cancel', { all: true });
});

test('one key of idempotency in two accounts makes two jobs', async () => {
  const headers = { 'Idempotency-Key': newId() };
  const first = await server.client(theirs.client.key).createJob(aJob(), headers);
  const second = await mine.client.createJob(aJob(), headers);
  assert.notEqual(first.uuid, second.uuid);
  await server.database.query('delete from job_events where job_id = $1', [first.uuid]);
  await server.database.query('delete from jobs where id = $1', [first.uuid]);
});

after(async () => {
  assert.ok(asked > routes.length * 2, `${asked} requests for ${routes.length} routes`);
});

test('nothing of the other account was changed by any of it', async () => {
  assert.deepEqual(await rowsOf(server, theirs), before);
  assert.ok(Object.values(before).flat().length >= 8, 'there was something to change');
});
