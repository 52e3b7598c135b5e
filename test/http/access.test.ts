// Accounts, users, roles and keys: who may make whom, what a key may hand on, and how it ends on every replica.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { newId } from '../../src/main/ids.ts';
import type { Account } from '../../src/protocol/account.ts';
import type { ApiKey, CreatedApiKey } from '../../src/protocol/api-key.ts';
import type { Balance } from '../../src/protocol/ledger.ts';
import type { ListEnvelope } from '../../src/protocol/list.ts';
import type { Me, User } from '../../src/protocol/user.ts';
import type { Client } from '../support/client.ts';
import { eventually, startTestServer } from '../support/server.ts';

const server = await startTestServer({ hasScheduler: false });
const { admin } = server;
const own = server.storage.account.id;
const replica = await server.startReplica();

const clientOf = (key: CreatedApiKey, url?: string): Client =>
  server.client({ publicKey: key.public_key, secretKey: key.secret_key }, url);
const createKey = (client: Client, body: object = {}) =>
  client.ask<CreatedApiKey>('POST', '/v1/api-keys', { body });
const createUser = (client: Client, body: object) => client.ask<User>('POST', '/v1/users', { body });
/** The hint goes with the commit; a replica hears it milliseconds later. */
const isSoonRefused = (client: Client, path: string, code: string) =>
  eventually(
    `${code} of ${path}`,
    async () => {
      const { status, body } = await client.send<{ error?: { code: string } }>('GET', path);
      return status >= 400 && body.error?.code === code;
    },
    1_000,
  );
const me = (client: Client) => client.ask<Me>('GET', '/v1/users/me');

async function anAccount(name: string): Promise<{ account: Account; client: Client }> {
  const account = await admin.ask<Account>('POST', '/v1/accounts', { body: { name } });
  const key = await createKey(admin, { preset: 'admin', account_uuid: account.uuid });
  return { account, client: clientOf(key) };
}

test('a key of the account alone is the account; one of a user is that user, in their role', async () => {
  const account = await me(admin);
  assert.deepEqual([account.uuid, account.email, account.role], [own, null, null]);
  assert.ok(account.permissions.includes('cluster:admin'));
  const user = await createUser(admin, { email: 'Ann@example.org', role: 'operator' });
  const key = await createKey(admin, { user_uuid: user.uuid });
  assert.deepEqual(
    [key.preset, key.permissions, key.user_uuid],
    ['operator', ['nodes:read', 'nodes:write'], user.uuid],
  );
  const ann = await me(clientOf(key));
  assert.deepEqual([ann.uuid, ann.email, ann.role], [user.uuid, 'Ann@example.org', 'operator']);
  assert.deepEqual(ann.account, { uuid: own, name: 'admin' });
  assert.deepEqual(ann.permissions, ['nodes:read', 'nodes:write']);
});

test('an e-mail address is one user of an account, whatever its case; another account may have them too', async () => {
  await createUser(admin, { email: 'one@example.org' });
  const body = { email: 'ONE@example.org' };
  assert.equal((await admin.refusal('POST', '/v1/users', { body })).code, 'conflict');
  const { client } = await anAccount('with the same person');
  assert.equal((await createUser(client, body)).email, body.email);
  assert.deepEqual(
    [...(await admin.issues('POST', '/v1/users', { body: { email: 'no address' } })).keys()],
    ['email'],
  );
});

test("a user's keys are bound by the role of the moment, on every replica", async () => {
  const user = await createUser(admin, { email: 'role@example.org', role: 'admin' });
  const key = await createKey(admin, { user_uuid: user.uuid, preset: 'admin' });
  const clients = [clientOf(key), clientOf(key, replica.url)];
  for (const client of clients) assert.ok((await me(client)).permissions.includes('keys:write'));
  await admin.ask('PUT', `/v1/users/${user.uuid}`, { body: { role: 'operator' } });
  for (const client of clients) {
    await isSoonRefused(client, '/v1/api-keys', 'permission_denied');
    assert.deepEqual((await me(client)).permissions, ['nodes:read', 'nodes:write']);
  }
  const beyond = { user_uuid: user.uuid, permissions: ['nodes:read', 'jobs:create'] };
  assert.deepEqual(
    [...(await admin.issues('POST', '/v1/api-keys', { body: beyond })).keys()],
    ['permissions'],
  );
});

test('a user who is removed has no key that works, and gets none', async () => {
  const user = await createUser(admin, { email: 'gone@example.org' });
  const key = await createKey(admin, { user_uuid: user.uuid });
  await me(clientOf(key, replica.url));
  const removed = await admin.ask<User>('DELETE', `/v1/users/${user.uuid}`);
  assert.ok(removed.removed_at);
  for (const url of [server.url, replica.url])
    await isSoonRefused(clientOf(key, url), '/v1/users/me', 'key_expired');
  assert.equal((await admin.refusal('POST', '/v1/api-keys', { body: { user_uuid: user.uuid } })).status, 404);
  assert.equal(
    (await admin.refusal('PUT', `/v1/users/${user.uuid}`, { body: { role: 'admin' } })).code,
    'conflict',
  );
  await createUser(admin, { email: 'gone@example.org' });
});

test("only the cluster's admin makes accounts, and sees them all", async () => {
  const { account, client } = await anAccount('a tenant');
  const names = async (asker: Client) =>
    (await asker.ask<ListEnvelope<Account>>('GET', '/v1/accounts?limit=50')).data.map(({ name }) => name);
  assert.deepEqual(await names(client), ['a tenant']);
  assert.ok((await names(admin)).includes('admin') && (await names(admin)).includes('a tenant'));
  assert.equal(
    (await client.refusal('POST', '/v1/accounts', { body: { name: 'x' } })).code,
    'permission_denied',
  );
  assert.equal((await client.ask<Account>('GET', `/v1/accounts/${account.uuid}`)).name, 'a tenant');
  assert.equal((await client.refusal('GET', `/v1/accounts/${own}`)).status, 404);
  assert.equal((await admin.ask<Account>('GET', `/v1/accounts/${account.uuid}`)).uuid, account.uuid);
});

test("the cluster's admin reaches the users and keys of an account; an account's admin only their own", async () => {
  const { account, client } = await anAccount('reached');
  const user = await createUser(admin, { email: 'r@example.org', account_uuid: account.uuid });
  const listed = await admin.ask<ListEnvelope<User>>('GET', `/v1/users?filter[account_uuid]=${account.uuid}`);
  assert.deepEqual(
    listed.data.map(({ uuid }) => uuid),
    [user.uuid],
  );
  const keys = await admin.ask<ListEnvelope<ApiKey>>(
    'GET',
    `/v1/api-keys?filter[account_uuid]=${account.uuid}`,
  );
  assert.equal(keys.total, 1);
  for (const path of ['/v1/users', '/v1/api-keys']) {
    const body = { email: 'x@example.org', account_uuid: own };
    const { email: _, ...keyBody } = body;
    const sent = { body: path === '/v1/users' ? body : keyBody };
    assert.equal((await client.refusal('POST', path, sent)).status, 404);
    assert.equal(
      (await admin.refusal('POST', path, { body: { ...sent.body, account_uuid: newId() } })).status,
      404,
    );
    const found = await client.ask<ListEnvelope<object>>('GET', `${path}?filter[account_uuid]=${own}`);
    assert.equal(found.total, 0);
  }
});

test("the balance is asked for by the account's uuid or by a user's", async () => {
  const { account, client } = await anAccount('with credits');
  await admin.ask('POST', `/v1/accounts/${account.uuid}/credits`, { body: { amount_usd: 12.5 } });
  const user = await createUser(client, { email: 'rich@example.org' });
  const rich = clientOf(await createKey(client, { user_uuid: user.uuid }));
  const { uuid } = await me(rich);
  for (const named of [uuid, account.uuid]) {
    const balance = await rich.ask<Balance>('GET', `/v1/accounts/${named}/balance`);
    assert.deepEqual([balance.available_balance, balance.account_uuid], [12.5, account.uuid]);
  }
  const stranger = (await anAccount('strange')).client;
  for (const named of [uuid, account.uuid])
    assert.equal((await stranger.refusal('GET', `/v1/accounts/${named}/balance`)).status, 404);
});

test('a key hands on no permission, time, address or rate that it lacks', async () => {
  const expires = new Date(Date.now() + 3_600_000).toISOString();
  const narrow = clientOf(
    await createKey(admin, {
      permissions: ['keys:write', 'jobs:read'],
      expires_at: expires,
      allowed_ips: ['127.0.0.0/8', '10.1.2.3'],
      rate_limit_per_second: 500,
    }),
  );
  const same = await createKey(narrow, { permissions: ['jobs:read'] });
  assert.deepEqual([same.expires_at, same.rate_limit_per_second], [expires, 500]);
  assert.deepEqual(same.allowed_ips, ['127.0.0.0/8', '10.1.2.3']);
  const less = {
    permissions: ['jobs:read'],
    allowed_ips: ['127.0.1.0/24', '10.1.2.3/32'],
    rate_limit_per_second: 1,
  };
  assert.deepEqual((await createKey(narrow, less)).allowed_ips, less.allowed_ips);
  for (const more of [
    { permissions: ['jobs:cancel'] },
    { preset: 'admin' },
    { permissions: [], expires_at: new Date(Date.now() + 7_200_000).toISOString() },
    { permissions: [], allowed_ips: ['0.0.0.0/0'] },
    { permissions: [], allowed_ips: ['127.0.0.0/7'] },
    { permissions: [], allowed_ips: ['127.0.0.1', '::1'] },
    { permissions: [], rate_limit_per_second: 501 },
  ])
    assert.equal(
      (await narrow.refusal('POST', '/v1/api-keys', { body: more })).code,
      'permission_denied',
      JSON.stringify(more),
    );
});

test('a key changes or gets the secret of no key that may more than itself, and of no node', async () => {
  const writer = clientOf(await createKey(admin, { permissions: ['keys:write', 'keys:read'] }));
  const strong = await createKey(admin, { preset: 'admin' });
  for (const [method, path, body] of [
    ['POST', `/v1/api-keys/${strong.uuid}/rotate`, {}],
    ['PUT', `/v1/api-keys/${strong.uuid}`, { allowed_ips: [] }],
  ] as const)
    assert.equal((await writer.refusal(method, path, { body })).code, 'permission_denied');
  const mine = await createKey(writer, { permissions: ['keys:read'] });
  const widened = { body: { permissions: ['keys:read', 'jobs:create'] } };
  assert.equal((await writer.refusal('PUT', `/v1/api-keys/${mine.uuid}`, widened)).code, 'permission_denied');
  await admin.ask('POST', '/v1/nodes', { body: { name: 'n1' } });
  const nodeKeys = await admin.ask<ListEnvelope<ApiKey>>('GET', '/v1/api-keys?filter[preset]=node');
  const rotation = await admin.refusal('POST', `/v1/api-keys/${nodeKeys.data[0]?.uuid}/rotate`, { body: {} });
  assert.equal(rotation.code, 'conflict');
  // To revoke is no gain.
  await writer.ask('DELETE', `/v1/api-keys/${strong.uuid}`);
});

test('a changed key holds at once, on every replica', async () => {
  const key = await createKey(admin, { permissions: ['jobs:read', 'nodes:read'] });
  const there = clientOf(key, replica.url);
  await there.ask('GET', '/v1/jobs');
  const body = { name: 'less', permissions: ['nodes:read'], allowed_ips: ['127.0.0.1'] };
  const changed = await admin.ask<ApiKey>('PUT', `/v1/api-keys/${key.uuid}`, { body });
  assert.deepEqual([changed.name, changed.permissions, changed.allowed_ips], Object.values(body));
  await isSoonRefused(there, '/v1/jobs', 'permission_denied');
  await there.ask('GET', '/v1/nodes');
  await admin.ask('PUT', `/v1/api-keys/${key.uuid}`, { body: { allowed_ips: ['192.0.2.1'] } });
  await isSoonRefused(there, '/v1/nodes', 'ip_not_allowed');
  assert.deepEqual((await admin.ask<ApiKey>('GET', `/v1/api-keys/${key.uuid}`)).permissions, ['nodes:read']);
});

test('a rotated key has a new secret at once, and the old one only for the overlap asked for', async () => {
  const key = await createKey(admin, { permissions: [] });
  const rotate = (body: object) =>
    admin.ask<CreatedApiKey>('POST', `/v1/api-keys/${key.uuid}/rotate`, { body });
  const second = await rotate({ overlap_ms: 3_600_000 });
  assert.equal(second.public_key, key.public_key);
  assert.notEqual(second.secret_key, key.secret_key);
  for (const url of [server.url, replica.url]) for (const one of [key, second]) await me(clientOf(one, url));
  const third = await rotate({});
  for (const old of [key, second])
    await isSoonRefused(clientOf(old, replica.url), '/v1/users/me', 'signature_invalid');
  assert.equal(third.previous_secret_until, null);
  for (const url of [server.url, replica.url]) {
    await me(clientOf(third, url));
    for (const old of [key, second])
      assert.equal((await clientOf(old, url).refusal('GET', '/v1/users/me')).code, 'signature_invalid');
  }
  const short = await rotate({ overlap_ms: 300 });
  await me(clientOf(third));
  await eventually('the end of the overlap', async () => {
    const answer = await clientOf(third).send('GET', '/v1/users/me');
    return answer.status === 401;
  });
  await me(clientOf(short));
  const text = JSON.stringify((await admin.ask<ListEnvelope<ApiKey>>('GET', '/v1/api-keys?limit=50')).data);
  assert.ok(!text.includes('sk_'));
});

test('a key that is revoked on one replica is refused by the other within moments', async () => {
  for (let round = 0; round < 5; round += 1) {
    const key = await createKey(admin);
    const there = clientOf(key, replica.url);
    await there.ask('GET', '/v1/jobs');
    await admin.ask('DELETE', `/v1/api-keys/${key.uuid}`);
    await isSoonRefused(there, '/v1/jobs', 'key_expired');
  }
});

test('a key works until it expires', async () => {
  const soon = new Date(Date.now() + 400).toISOString();
  const key = clientOf(await createKey(admin, { expires_at: soon }));
  await key.ask('GET', '/v1/jobs');
  await eventually('its expiry', async () => (await key.send('GET', '/v1/jobs')).status === 401);
  assert.equal((await key.refusal('GET', '/v1/jobs')).code, 'key_expired');
});
