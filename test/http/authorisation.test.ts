// Every route: unsigned is 401, without its permission 403, another account's thing 404; and the lists show one's own alone.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { newId } from '../../src/main/ids.ts';
import { aJob, aNode } from '../support/builders.ts';
import { fetchOpenApi } from '../support/openapi-check.ts';
import { place } from '../support/runs.ts';
import { startTestServer } from '../support/server.ts';
import { authorisedRoutes, clusterRoutes, selfRoutes, unsignedRoutes } from './authorisation-routes.ts';

const server = await startTestServer({ hasScheduler: false });
const { admin } = server;
const accountId = await server.createAccount('another');
const foreign = server.client(await server.createKey({ preset: 'admin', accountId }));
const powerless = server.client(await server.createKey({ permissions: [] }));

// The reference's own id of it.
const rtx5090 = '0198ac1c-7063-4be8-bb94-57a5bd83548e';

const own = server.storage.account.id;
const isForAdmin = (route: string) => route.endsWith('/verification') || route.includes('/cluster/');

/** A job, run, node and key of the first account, under the resource that names them in a path. */
async function things(): Promise<Record<string, string>> {
  const node = await aNode(server);
  const job = await admin.createJob(aJob());
  const run = await place(server, job.uuid, node.id);
  const key = await server.createKey();
  await admin.ask('POST', `/v1/accounts/${own}/credits`, { body: { amount_usd: 1 } });
  const recipe = await admin.ask<{ uuid: string }>('POST', '/v1/job-recipes', {
    body: { name: 'own', payload: aJob() },
  });
  const user = await admin.ask<{ uuid: string }>('POST', '/v1/users', {
    body: { email: 'own@example.org' },
  });
  const webhook = await admin.ask<{ uuid: string }>('POST', '/v1/webhooks', {
    body: { url: 'https://example.com/hook' },
  });
  const session = await admin.ask<{ session_uuid: string }>('POST', '/v1/sign-in', { body: {} });
  return {
    sessions: session.session_uuid,
    webhooks: webhook.uuid,
    users: user.uuid,
    jobs: job.uuid,
    'job-runs': run.id,
    nodes: node.id,
    'api-keys': key.id,
    'gpu-registry': rtx5090,
    'job-recipes': recipe.uuid,
    accounts: own,
  };
}

const ids = await things();

function splitRoute(route: string): { method: string; path: string; isOfOne: boolean } {
  const [method = '', template = ''] = route.split(' ');
  const resource = template.split('/')[2] ?? '';
  const path = template.replace('{uuid}', ids[resource] ?? newId());
  return { method, path, isOfOne: template.includes('{uuid}') };
}

test('the list is the document: no signed route is missing from either', async () => {
  const { paths } = await fetchOpenApi(server.url);
  const documented = Object.entries(paths).flatMap(([path, operations]) =>
    Object.keys(operations).map((method) => `${method.toUpperCase()} ${path}`),
  );
  assert.deepEqual(documented.sort(), [...authorisedRoutes, ...unsignedRoutes].sort());
});

for (const route of authorisedRoutes) {
  const { method, path, isOfOne } = splitRoute(route);
  const body = method === 'GET' || method === 'DELETE' ? {} : { body: {} };

  test(`${route} is 401 without a signature`, async () => {
    const refusal = await admin.refusal(method, path, { ...body, isSigned: false });
    assert.equal(refusal.status, 401);
    assert.equal(refusal.code, 'signature_invalid');
  });

  if (selfRoutes.includes(route)) {
    test(`${route} tells each key of itself alone`, async () => {
      const [mine, theirs] = [await admin.ask<object>(method, path), await foreign.ask<object>(method, path)];
      assert.ok(JSON.stringify(mine).includes(own) && !JSON.stringify(theirs).includes(own));
      await powerless.ask(method, path);
    });
    continue;
  }

  test(`${route} is 403 without its permission`, async () => {
    const refusal = await powerless.refusal(method, path, body);
    assert.equal(refusal.status, 403);
    assert.equal(refusal.code, 'permission_denied');
    assert.deepEqual((refusal.details as { granted: string[] }).granted, []);
  });

  if (clusterRoutes.test(route)) {
    test(`${route} is the same for every account, and only the cluster's admin changes it`, async () => {
      if (method === 'GET' && !isForAdmin(route))
        assert.deepEqual(await foreign.ask(method, path), await admin.ask(method, path));
      else assert.equal((await foreign.refusal(method, path, body)).code, 'permission_denied');
    });
    continue;
  }

  test(`${route} is ${isOfOne ? '404 for another account, and as unknown' : 'empty of what others have'}`, async () => {
    if (isOfOne) {
      const refusal = await foreign.refusal(method, path, body);
      assert.equal(refusal.status, 404);
      assert.equal(refusal.code, 'not_found');
      const unknown = await admin.refusal(method, path.replace(/[0-9a-f-]{36}/, newId()), body);
      assert.deepEqual([unknown.status, unknown.message], [404, refusal.message]);
      return;
    }
    if (method !== 'GET') {
      // A create belongs to whoever signs it: there is nothing of others in it.
      assert.equal((await foreign.refusal(method, path, { body: { account: 1 } })).status, 400);
      return;
    }
    const mine = await admin.ask<{ data: { uuid: string }[]; total: number }>(method, path);
    const theirs = await foreign.ask<{ data: { uuid: string; is_official?: boolean }[] }>(method, path);
    assert.ok(mine.data.length > 0, 'the first account sees its own');
    // The cluster's admin sees every account, and each account itself.
    const known = new Set(mine.data.map((item) => item.uuid).filter((uuid) => uuid !== accountId));
    assert.deepEqual(
      theirs.data.filter((item) => known.has(item.uuid) && item.is_official !== true),
      [],
    );
  });
}

test('nothing of the first account was changed by any of it', async () => {
  assert.equal((await admin.getJob(ids.jobs ?? '')).status, 'ASSIGNED');
  const keys = await admin.ask<{ data: { uuid: string; revoked_at: string | null }[] }>(
    'GET',
    '/v1/api-keys',
  );
  assert.equal(keys.data.find((key) => key.uuid === ids['api-keys'])?.revoked_at, null);
});
