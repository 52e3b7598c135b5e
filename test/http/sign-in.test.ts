// Sessions over the wire: sign-in with a key, tokens alone and signing, their limits, renewal, reuse, sign-out.
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { test } from 'node:test';
import { decodeJwt } from 'jose';
import type { Session, SessionTokens } from '../../src/protocol/sign-in.ts';
import { aJob } from '../support/builders.ts';
import type { Client, SendOptions } from '../support/client.ts';
import { eventually, setSqlClock, startTestServer } from '../support/server.ts';

const server = await startTestServer({ hasScheduler: false, trustedProxies: ['127.0.0.1'] });
const { admin } = server;
const replica = await server.startReplica();

function signIn(client: Client = admin, body: object = {}): Promise<SessionTokens> {
  return client.ask<SessionTokens>('POST', '/v1/sign-in', { body });
}

/** Failures are counted by address, so those of this file come from many. */
let addresses = 0;
function bearing(token: string, address?: string): SendOptions {
  addresses += 1;
  const from = address ?? `198.51.100.${addresses % 250}`;
  return { isSigned: false, headers: { Authorization: `Bearer ${token}`, 'X-Forwarded-For': from } };
}

function refresh(refreshToken: string) {
  return admin.send<SessionTokens>('POST', '/v1/sign-in/refresh', {
    ...bearing('unused'),
    headers: {},
    body: { refresh_token: refreshToken },
  });
}

async function codeOf(client: Client, token: string): Promise<string> {
  return (await client.refusal('GET', '/v1/jobs', bearing(token))).code;
}

const hmacKeyOf = (token: string) => String(decodeJwt(token).hmac_key);
const elsewhere = server.client(server.adminKey, replica.url);

test('signing in with a key gives a short-lived token with the claims it is known by', async () => {
  const beforeMs = Date.now();
  const tokens = await signIn();
  const claims = decodeJwt(tokens.access_token);
  assert.equal(claims.iss, `urn:flotilla:${server.storage.cluster.id}`);
  assert.equal(claims.sub, server.adminKey.id);
  assert.equal(claims.account, server.storage.account.id);
  assert.equal(claims.sid, tokens.session_uuid);
  assert.ok((claims.permissions as string[]).includes('jobs:create'));
  assert.match(String(claims.hmac_key), /^\w{43}$/);
  assert.match(String(claims.jti), /^[0-9a-f-]{36}$/);
  const lifeMs = Date.parse(tokens.expires_at) - beforeMs;
  assert.ok(lifeMs > 9 * 60_000 && lifeMs <= 10 * 60_000 + 1_000, `${lifeMs}`);
  assert.equal(Number(claims.exp) * 1000, Date.parse(tokens.expires_at));
  assert.notEqual(hmacKeyOf((await signIn()).access_token), claims.hmac_key);
});

test('a token alone is enough, on every replica, for reads and for what has effect', async () => {
  const { access_token: token } = await signIn();
  for (const client of [admin, elsewhere]) {
    const made = await client.ask<{ uuid: string }>('POST', '/v1/jobs', { ...bearing(token), body: aJob() });
    assert.equal(
      (await client.ask<{ uuid: string }>('GET', `/v1/jobs/${made.uuid}`, bearing(token))).uuid,
      made.uuid,
    );
  }
});

test('with the signature headers the claim hmac_key is first part and key, and nonces count', async () => {
  const { access_token: token } = await signIn();
  const hmacKey = hmacKeyOf(token);
  const client = server.client({ publicKey: hmacKey, secretKey: hmacKey });
  const authorization = { Authorization: `Bearer ${token}` };
  const withoutKey = { ...authorization, 'X-API-Key': undefined };
  await client.ask('GET', '/v1/jobs?limit=1', { headers: withoutKey });
  await client.ask('GET', '/v1/jobs?limit=1', { headers: authorization });
  const nonce = 'ab'.repeat(16);
  await client.ask('POST', '/v1/jobs', { headers: withoutKey, body: aJob(), nonce });
  const again = await client.refusal('POST', '/v1/jobs', { headers: withoutKey, body: aJob(), nonce });
  assert.equal(again.code, 'nonce_reused');
  const late = await client.refusal('GET', '/v1/jobs', {
    headers: withoutKey,
    timeMs: Date.now() - 6 * 60_000,
  });
  assert.equal(late.code, 'clock_skew');
});

test('a wrong signature beside a good token is refused, and the canonical string keeps the secret', async () => {
  const { access_token: token } = await signIn();
  const hmacKey = hmacKeyOf(token);
  const client = server.client({ publicKey: hmacKey, secretKey: 'another' });
  const headers = { Authorization: `Bearer ${token}`, 'X-API-Key': undefined };
  const refusal = await client.refusal('GET', '/v1/jobs', { headers });
  assert.equal(refusal.code, 'signature_invalid');
  const { canonical_string: canonical } = refusal.details as { canonical_string: string };
  assert.match(canonical, /^\{hmac_key\}\|\d+\|[0-9a-f]{32}\|GET\|\/v1\/jobs\|\|/);
  const whole = canonical.replace('{hmac_key}', hmacKey);
  const [, timeMs = '', nonce = ''] = whole.split('|');
  const signature = createHmac('sha256', hmacKey).update(whole).digest('hex');
  const signed = { 'X-Time': timeMs, 'X-Nonce': nonce, 'X-Signature': signature };
  await client.ask('GET', '/v1/jobs', { isSigned: false, headers: { ...headers, ...signed } });
  // Not without a part of it, and not with the key of somebody else.
  const partial = { Authorization: `Bearer ${token}`, 'X-Time': timeMs };
  assert.equal(
    (await client.refusal('GET', '/v1/jobs', { isSigned: false, headers: partial })).code,
    'signature_invalid',
  );
  const both = await admin.refusal('GET', '/v1/jobs', { headers: { Authorization: `Bearer ${token}` } });
  assert.equal(both.code, 'signature_invalid');
});

test('a token does what its key may do and no more, and may be narrower', async () => {
  const consumer = server.client(await server.createKey());
  const { access_token: token } = await signIn(consumer, { permissions: ['jobs:read'] });
  await consumer.ask('GET', '/v1/jobs', bearing(token));
  const refusal = await consumer.refusal('POST', '/v1/jobs', { ...bearing(token), body: aJob() });
  assert.equal(refusal.code, 'permission_denied');
  assert.deepEqual((refusal.details as { granted: string[] }).granted, ['jobs:read']);
  const wider = await consumer.refusal('POST', '/v1/sign-in', { body: { permissions: ['cluster:admin'] } });
  assert.equal(wider.code, 'permission_denied');
  const again = await consumer.refusal('POST', '/v1/sign-in', { ...bearing(token), body: {} });
  assert.equal(again.code, 'permission_denied');
});

test('rights taken from the key are taken from its tokens', async () => {
  const key = await server.createKey();
  const client = server.client(key);
  const { access_token: token } = await signIn(client);
  await server.database.query("update api_keys set permissions = '{nodes:read}' where id = $1", [key.id]);
  await eventually('the cached key is over', async () => {
    const { status } = await client.send('GET', '/v1/jobs', bearing(token));
    return status === 403;
  });
  await client.ask('GET', '/v1/nodes', bearing(token));
});

test("a token is bound to its key's addresses", async () => {
  const key = await server.createKey({ allowedIps: ['203.0.113.0/24'] });
  const client = server.client(key);
  const { access_token: token, refresh_token: refreshToken } = await client.ask<SessionTokens>(
    'POST',
    '/v1/sign-in',
    { body: {}, headers: { 'X-Forwarded-For': '203.0.113.7' } },
  );
  await client.ask('GET', '/v1/jobs', bearing(token, '203.0.113.9'));
  const refusal = await client.refusal('GET', '/v1/jobs', bearing(token, '198.51.100.1'));
  assert.equal(refusal.code, 'ip_not_allowed');
  assert.equal((await refresh(refreshToken)).status, 403);
});

test('revoking the key ends its tokens at once on every replica', async () => {
  const key = await server.createKey();
  const client = server.client(key);
  const { access_token: token, refresh_token: refreshToken } = await signIn(client);
  await elsewhere.ask('GET', '/v1/jobs', bearing(token));
  await admin.ask('DELETE', `/v1/api-keys/${key.id}`);
  for (const at of [admin, elsewhere]) assert.equal(await codeOf(at, token), 'key_expired');
  const refused = await refresh(refreshToken);
  assert.equal(refused.status, 401);
});

test('a refresh token works once, and its second use ends the whole session everywhere', async () => {
  const first = await signIn();
  const { status, body: second } = await refresh(first.refresh_token);
  assert.equal(status, 201);
  assert.equal(second.session_uuid, first.session_uuid);
  assert.notEqual(second.refresh_token, first.refresh_token);
  for (const token of [first.access_token, second.access_token])
    await elsewhere.ask('GET', '/v1/jobs', bearing(token));
  const reused = await refresh(first.refresh_token);
  assert.deepEqual([reused.status, /used before/.test(reused.text)], [401, true]);
  assert.equal((await refresh(second.refresh_token)).status, 401);
  for (const token of [first.access_token, second.access_token])
    for (const at of [admin, elsewhere]) assert.equal(await codeOf(at, token), 'token_invalid');
});

test('of many at once with one refresh token one at most gets new ones, and the session ends', async () => {
  const { refresh_token: token, access_token: access } = await signIn();
  const answers = await Promise.all(Array.from({ length: 8 }, () => refresh(token)));
  assert.equal(answers.filter(({ status }) => status === 201).length, 1);
  assert.equal(await codeOf(admin, access), 'token_invalid');
});

test('sign-out ends the session at once on every replica, by either token', async () => {
  for (const how of ['access', 'refresh']) {
    const { access_token: access, refresh_token: refreshToken } = await signIn();
    await elsewhere.ask('GET', '/v1/jobs', bearing(access));
    const out =
      how === 'access'
        ? await admin.send('POST', '/v1/sign-out', bearing(access))
        : await admin.send('POST', '/v1/sign-out', {
            isSigned: false,
            body: { refresh_token: refreshToken },
          });
    assert.equal(out.status, 200);
    for (const at of [admin, elsewhere]) assert.equal(await codeOf(at, access), 'token_invalid');
    assert.equal((await refresh(refreshToken)).status, 401);
  }
});

test('sessions of the account are listed, and one is ended from another at once everywhere', async () => {
  const key = await server.createKey();
  const { access_token: access, session_uuid: uuid } = await signIn(server.client(key));
  await elsewhere.ask('GET', '/v1/jobs', bearing(access));
  const list = await admin.ask<{ data: Session[] }>('GET', `/v1/sessions?filter[api_key_uuid]=${key.id}`);
  assert.deepEqual(
    list.data.map((session) => [session.uuid, session.identity_uuid, session.revoked_at]),
    [[uuid, null, null]],
  );
  const ended = await admin.ask<Session>('DELETE', `/v1/sessions/${uuid}`);
  assert.ok(ended.revoked_at);
  for (const at of [admin, elsewhere]) assert.equal(await codeOf(at, access), 'token_invalid');
  const again = await admin.ask<Session>('DELETE', `/v1/sessions/${uuid}`);
  assert.equal(again.revoked_at, ended.revoked_at);
  const log = await admin.ask<{ data: { subject_uuid: string }[] }>(
    'GET',
    '/v1/audit-log?filter[action]=session_revoked',
  );
  assert.deepEqual(
    log.data.map((entry) => entry.subject_uuid),
    [uuid],
  );
});

test('sign-out of nobody: an unknown refresh token is fine, a key has no session, nothing is 401', async () => {
  const unknown = { isSigned: false, body: { refresh_token: 'rt_unknown' } };
  assert.equal((await admin.send('POST', '/v1/sign-out', unknown)).status, 200);
  assert.equal((await admin.refusal('POST', '/v1/sign-out', { isSigned: false })).status, 401);
  assert.equal((await admin.refusal('POST', '/v1/sign-out')).code, 'token_invalid');
});

test('the secret of refresh tokens and of signing keys is not in the database', async () => {
  const { refresh_token: token } = await signIn();
  const [{ text } = { text: '' }] = await server.database.query<{ text: string }>(
    `select string_agg(t::text, ' ') as text from (select encode(hash, 'escape') as t from refresh_tokens
     union all select to_jsonb(k)::text from token_keys k) x`,
  );
  assert.ok(text.includes('"kty"'));
  assert.ok(!text.includes(token) && !text.includes('"d"'));
});

test('malformed bodies of the open routes are 400, 413 or 415 and end nothing', async () => {
  const { access_token: access } = await signIn();
  const bodies = [
    '',
    '{}',
    '[]',
    '{',
    '{"refresh_token":1}',
    '{"refresh_token":""}',
    '{"refresh_token":null}',
  ];
  bodies.push(
    '{"refresh_token":"x","more":1}',
    `{"refresh_token":"${'x'.repeat(600)}"}`,
    '{"refresh_token":"\\u0000"}',
  );
  for (const raw of bodies) {
    const refusal = await admin.refusal('POST', '/v1/sign-in/refresh', { isSigned: false, raw });
    assert.deepEqual([refusal.status, refusal.code], [400, 'validation_failed'], raw);
  }
  for (const raw of ['[]', '{', '{"refresh_token":1}', '{"token":"x"}', '"x"']) {
    const refusal = await admin.refusal('POST', '/v1/sign-out', { isSigned: false, raw });
    assert.deepEqual([refusal.status, refusal.code], [400, 'validation_failed'], raw);
  }
  const plain = { isSigned: false, raw: 'x=1', headers: { 'Content-Type': 'text/plain' } };
  assert.equal((await admin.refusal('POST', '/v1/sign-in/refresh', plain)).status, 415);
  const query = { isSigned: false, body: { refresh_token: 'x' } };
  assert.equal((await admin.refusal('POST', '/v1/sign-in/refresh?a=1', query)).status, 400);
  await admin.ask('GET', '/v1/jobs', bearing(access));
});

test('whoever keeps failing with tokens is slowed down', async () => {
  const from = '192.0.2.77';
  for (let count = 0; count < 100; count += 1)
    assert.equal((await admin.refusal('GET', '/v1/jobs', bearing('x.y.z', from))).status, 401);
  const slowed = await admin.refusal('GET', '/v1/jobs', bearing('x.y.z', from));
  assert.deepEqual([slowed.status, slowed.code], [429, 'rate_limited']);
});

test('a session of an idle week is over, and one of a month however busy', async () => {
  const dayMs = 86_400_000;
  const { refresh_token: idle } = await signIn();
  let { refresh_token: busy } = await signIn();
  try {
    for (const days of [6, 12, 18, 24, 29]) {
      await setSqlClock(server, days * dayMs);
      const answer = await refresh(busy);
      assert.equal(answer.status, 201, `${days} days`);
      busy = answer.body.refresh_token;
    }
    const refusal = await refresh(idle);
    assert.match(refusal.text, /token_expired/);
    await setSqlClock(server, 31 * dayMs);
    assert.match((await refresh(busy)).text, /token_expired/);
  } finally {
    await setSqlClock(server, 0);
  }
});
