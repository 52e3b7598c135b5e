// Signing in by OpenID Connect at a real provider: who gets in, with what, and every way that must not work.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, test } from 'node:test';
import { decodeJwt } from 'jose';
import type { SessionTokens } from '../../src/protocol/sign-in.ts';
import { aJob } from '../support/builders.ts';
import { startOpenIdProvider, TestBrowser } from '../support/openid-provider.ts';
import { setSqlClock, startTestServer } from '../support/server.ts';

const people = [
  { sub: 'ann', email: 'ann@example.org', email_verified: true, groups: ['staff', 'gpu'] },
  { sub: 'bob', email: 'bob@example.org', email_verified: false, groups: ['staff'] },
  { sub: 'eve', email: 'ann@example.org', email_verified: false },
  { sub: 'old', email: 'old@example.org', email_verified: true },
  { sub: 'kim', email: 'kim@example.org', email_verified: true, groups: ['gpu'] },
];
let atBrowser: string | null = 'ann';
const publicUrl = 'http://127.0.0.1:1';
// The provider must know the server's address and the server the provider's, so the server says a name of its own.
const provider = await startOpenIdProvider({
  people,
  redirectUri: `${publicUrl}/v1/sign-in/oidc/callback`,
  login: () => atBrowser,
});
after(() => provider.stop());
const mapping = (claim: string, value: string, account: string, preset: string) => ({
  ...{ claim, value, account },
  preset,
});
const settings = {
  issuer: provider.issuer,
  clientId: provider.clientId,
  clientSecret: provider.clientSecret,
  scope: 'openid email groups',
  mappings: [
    mapping('email', 'ann@example.org', 'admin', 'admin'),
    mapping('groups', 'gpu', 'guests', 'consumer'),
    mapping('email', 'old@example.org', 'no such account', 'consumer'),
  ],
};
const server = await startTestServer({ hasScheduler: false, oidc: settings, publicUrl });
const guests = await server.createAccount('guests');
const { admin } = server;

const verifier = randomBytes(32).toString('base64url');
const challenge = createHash('sha256').update(verifier).digest('base64url');
const redirectUri = 'http://127.0.0.1:2/signed-in?from=test';
const isBack = (url: URL) => url.port === '2';

function beginning(own: Record<string, string> = {}): string {
  const query = new URLSearchParams({
    redirect_uri: redirectUri,
    state: 'the-state',
    code_challenge: challenge,
    ...own,
  });
  return `${server.url}/v1/sign-in/oidc?${query}`;
}

/** To the provider, through its pages, and to the address that the provider sends the browser back to. */
async function atCallback(browser: TestBrowser, start = beginning()): Promise<URL> {
  const callback = await browser.follow(start, (url) => url.origin === publicUrl);
  return new URL(callback.pathname + callback.search, server.url);
}

async function signIn(person: string | null, browser = new TestBrowser()): Promise<URL> {
  atBrowser = person;
  const { status, location, text } = await browser.visit(await atCallback(browser));
  assert.equal(status, 302, text);
  const back = new URL(location ?? '');
  assert.ok(isBack(back) && back.searchParams.get('from') === 'test');
  assert.equal(back.searchParams.get('state'), 'the-state');
  return back;
}

function change(code: string | null, codeVerifier = verifier) {
  const body = { code, code_verifier: codeVerifier };
  return admin.send<SessionTokens>('POST', '/v1/sign-in/oidc/token', { isSigned: false, body });
}

async function tokensFor(person: string): Promise<SessionTokens> {
  const { status, body, text } = await change((await signIn(person)).searchParams.get('code'));
  assert.equal(status, 201, text);
  return body;
}

const bearing = (token: string) => ({ isSigned: false, headers: { Authorization: `Bearer ${token}` } });

test('a person whom a mapping names gets its account and rights', async () => {
  const ann = await tokensFor('ann');
  assert.equal(ann.account_uuid, server.storage.account.id);
  assert.ok(ann.permissions.includes('keys:write') && !ann.permissions.includes('cluster:admin'));
  const kim = await tokensFor('kim');
  assert.equal(kim.account_uuid, guests);
  assert.ok(!kim.permissions.includes('keys:write'));
  const made = await admin.ask<{ uuid: string }>('POST', '/v1/jobs', {
    ...bearing(kim.access_token),
    body: aJob(),
  });
  assert.equal((await admin.refusal('GET', `/v1/jobs/${made.uuid}`, bearing(ann.access_token))).status, 404);
  const refusal = await admin.refusal('GET', '/v1/api-keys', bearing(kim.access_token));
  assert.equal(refusal.code, 'permission_denied');
});

test('what an identity did is told as its doing', async () => {
  const { access_token: token } = await tokensFor('kim');
  const made = await admin.ask<{ uuid: string }>('POST', '/v1/jobs', { ...bearing(token), body: aJob() });
  await admin.ask('PUT', `/v1/jobs/${made.uuid}/cancel`, { ...bearing(token), body: {} });
  const [event] = await server.database.query<{ actor: Record<string, unknown> }>(
    "select actor from job_events where job_id = $1 and to_status = 'CANCELLED'",
    [made.uuid],
  );
  assert.deepEqual([event?.actor.kind, event?.actor.name], ['identity', 'kim@example.org']);
});

test('signing in again is the same identity in another session, which renews and signs out like any', async () => {
  const [first, second] = [await tokensFor('ann'), await tokensFor('ann')];
  assert.equal(decodeJwt(first.access_token).sub, decodeJwt(second.access_token).sub);
  assert.notEqual(first.session_uuid, second.session_uuid);
  const renewed = await admin.ask<SessionTokens>('POST', '/v1/sign-in/refresh', {
    isSigned: false,
    body: { refresh_token: first.refresh_token },
  });
  await admin.ask('GET', '/v1/jobs', bearing(renewed.access_token));
  await admin.ask('POST', '/v1/sign-out', bearing(renewed.access_token));
  assert.equal((await admin.refusal('GET', '/v1/jobs', bearing(first.access_token))).code, 'token_invalid');
  await admin.ask('GET', '/v1/jobs', bearing(second.access_token));
});

test('who is mapped to what is in the audit log, once for each change, and in the sessions', async () => {
  const mapped = () =>
    admin.ask<{ data: { detail: { email: string; preset: string } }[] }>(
      'GET',
      '/v1/audit-log?filter[action]=identity_mapped',
    );
  await tokensFor('ann');
  const before = await mapped();
  assert.deepEqual(before.data.at(-1)?.detail.preset, 'admin');
  await tokensFor('ann');
  assert.equal((await mapped()).data.length, before.data.length);
  const sessions = await admin.ask<{ data: { email: string | null }[] }>('GET', '/v1/sessions');
  assert.equal(sessions.data[0]?.email, 'ann@example.org');
});

test('the session of an identity is over after half a day, however busy', async () => {
  let { refresh_token: token } = await tokensFor('ann');
  const renew = () =>
    admin.send<SessionTokens>('POST', '/v1/sign-in/refresh', {
      isSigned: false,
      body: { refresh_token: token },
    });
  try {
    await setSqlClock(server, 11 * 3_600_000);
    const { status, body } = await renew();
    assert.equal(status, 201);
    token = body.refresh_token;
    await setSqlClock(server, 13 * 3_600_000);
    assert.match((await renew()).text, /token_expired/);
  } finally {
    await setSqlClock(server, 0);
  }
});

for (const [person, what, code] of [
  ['bob', 'nobody mapped', 'permission_denied'],
  ['eve', "another person's address, not verified", 'permission_denied'],
  ['old', 'mapped to an account that is not there', 'unavailable'],
  [null, 'a person who says no', 'token_invalid'],
] as const) {
  test(`gets no code: ${what}`, async () => {
    const back = await signIn(person);
    assert.equal(back.searchParams.get('code'), null);
    assert.equal(back.searchParams.get('error'), code);
    assert.ok(back.searchParams.get('error_description'));
  });
}

test('a code works once, for a minute, and for its verifier alone', async () => {
  const codeOf = async () => (await signIn('ann')).searchParams.get('code');
  const [used, wrong, late] = [await codeOf(), await codeOf(), await codeOf()];
  assert.equal((await change(used)).status, 201);
  for (const refused of [await change(used), await change(wrong, 'x'.repeat(43)), await change(wrong)])
    assert.match(refused.text, /token_invalid/);
  await setSqlClock(server, 61_000);
  try {
    assert.match((await change(late)).text, /token_invalid/);
  } finally {
    await setSqlClock(server, 0);
  }
  assert.equal((await change('unknown')).status, 401);
});

test('what comes back must come to the browser that began, once, in time, and with its own state', async () => {
  atBrowser = 'ann';
  const browser = new TestBrowser();
  const callback = await atCallback(browser);
  assert.equal((await new TestBrowser().visit(callback)).status, 401, 'another browser');
  const changed = new URL(callback);
  changed.searchParams.set('state', 'x'.repeat(43));
  assert.equal((await browser.visit(changed)).status, 401, 'another state');
  assert.equal((await browser.visit(callback)).status, 302);
  assert.equal((await browser.visit(callback)).status, 401, 'a second time');
  const slow = new TestBrowser();
  const late = await atCallback(slow);
  await setSqlClock(server, 11 * 60_000);
  try {
    assert.equal((await slow.visit(late)).status, 401, 'late');
  } finally {
    await setSqlClock(server, 0);
  }
});

test("the provider's answer must be its own, to this very sign-in", async () => {
  atBrowser = 'ann';
  const [one, other] = [new TestBrowser(), new TestBrowser()];
  const [mine, theirs] = [await atCallback(one), await atCallback(other)];
  // A code of another sign-in (injected): its PKCE challenge and nonce are not ours.
  mine.searchParams.set('code', theirs.searchParams.get('code') ?? '');
  const injected = new URL((await one.visit(mine)).location ?? '');
  assert.equal(injected.searchParams.get('error'), 'token_invalid');
  const third = new TestBrowser();
  const mixed = await atCallback(third);
  mixed.searchParams.set('iss', 'http://127.0.0.1:3');
  const mixedUp = new URL((await third.visit(mixed)).location ?? '');
  assert.equal(mixedUp.searchParams.get('error'), 'token_invalid');
});

test('the provider hears a challenge, a nonce and a state of our own', async () => {
  const { location } = await new TestBrowser().visit(new URL(beginning()));
  const { searchParams } = new URL(location ?? '');
  assert.equal(searchParams.get('code_challenge_method'), 'S256');
  assert.notEqual(searchParams.get('code_challenge'), challenge);
  assert.ok((searchParams.get('nonce')?.length ?? 0) >= 43);
  assert.notEqual(searchParams.get('state'), 'the-state');
});

test('codes go to loopback or to this server alone; wrong queries name each field', async () => {
  const refused = async (own: Record<string, string>) => {
    const response = await fetch(beginning(own), { redirect: 'manual' });
    const { error } = (await response.json()) as { error: { code: string; details: { path: string }[] } };
    assert.deepEqual([response.status, error.code], [400, 'validation_failed'], JSON.stringify(own));
    return error.details.map(({ path }) => path);
  };
  for (const uri of [
    ...[
      'https://evil.example/',
      'http://127.0.0.1.evil.example/',
      'http://127.0.0.1@evil.example/',
      '//evil.example',
    ],
    ...['javascript:alert(1)', 'https://127.0.0.1/', 'http://127.0.0.1:2/#x', '', 'x', 'http://10.0.0.1/'],
    ...['http://localhost.evil.example/', 'flotilla://x', `http://127.0.0.1/${'a'.repeat(3_000)}`],
  ])
    assert.deepEqual(await refused({ redirect_uri: uri }), ['redirect_uri'], uri);
  assert.deepEqual(await refused({ state: '', code_challenge: 'short', more: '1' }), [
    'state',
    'code_challenge',
    'more',
  ]);
  for (const uri of [`${publicUrl}/console`, 'http://[::1]:9/', 'http://localhost:9/x']) {
    const response = await fetch(beginning({ redirect_uri: uri }), { redirect: 'manual' });
    assert.equal(response.status, 302, uri);
  }
  for (const raw of [
    '{}',
    '[]',
    '{"code":"x"}',
    '{"code":"x","code_verifier":"short"}',
    `{"code":1,"code_verifier":"${verifier}"}`,
  ]) {
    const refusal = await admin.refusal('POST', '/v1/sign-in/oidc/token', { isSigned: false, raw });
    assert.deepEqual([refusal.status, refusal.code], [400, 'validation_failed'], raw);
  }
});

test('the cookie is for these routes alone, out of reach of scripts, and Secure behind TLS', async () => {
  const [plain] = (await fetch(beginning(), { redirect: 'manual' })).headers.getSetCookie();
  assert.match(
    plain ?? '',
    /^flotilla_sign_in=\w{43}; Path=\/v1\/sign-in\/oidc; Max-Age=600; HttpOnly; SameSite=Lax$/,
  );
  const secured = await server.startReplica({ publicUrl: 'https://flotilla.example' });
  const [cookie] = (
    await fetch(beginning().replace(server.url, secured.url), { redirect: 'manual' })
  ).headers.getSetCookie();
  assert.match(cookie ?? '', /; Secure$/);
});

test('without a provider there is no such way in, and with one that is away it says so', async () => {
  const without = await server.startReplica({ oidc: null });
  const begin = (url: string) => fetch(beginning().replace(server.url, url), { redirect: 'manual' });
  assert.equal((await begin(without.url)).status, 404);
  const silent = createServer(() => {});
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
  const issuer = `http://127.0.0.1:${(silent.address() as AddressInfo).port}`;
  silent.close();
  silent.closeAllConnections();
  const away = await server.startReplica({ oidc: { ...settings, issuer } });
  const response = await begin(away.url);
  assert.deepEqual([response.status, response.headers.get('retry-after')], [503, '10']);
});

test('a wrong client secret is the operator’s matter: 503, and in the log', async () => {
  const wrong = await server.startReplica({ oidc: { ...settings, clientSecret: 'wrong' } });
  atBrowser = 'ann';
  const browser = new TestBrowser();
  const callback = await browser.follow(
    beginning().replace(server.url, wrong.url),
    (url) => url.origin === publicUrl,
  );
  const answer = await browser.visit(new URL(callback.pathname + callback.search, wrong.url));
  assert.equal(new URL(answer.location ?? '').searchParams.get('error'), 'unavailable');
  assert.ok(server.logLines.some((line) => line.includes('WWW-Authenticate')));
});

test('nothing of a sign-in is readable in the database', async () => {
  const before = new TestBrowser();
  atBrowser = 'ann';
  const callback = await atCallback(before);
  const [{ text } = { text: '' }] = await server.database.query<{ text: string }>(
    "select string_agg(to_jsonb(a)::text, ' ') as text from sign_in_attempts a",
  );
  assert.ok(text.length > 0 && !text.includes(callback.searchParams.get('state') ?? 'x'));
});

test('whoever begins again and again is slowed down, and others are not', async () => {
  const proxied = await server.startReplica({ trustedProxies: ['127.0.0.1'] });
  const begin = async (address: string) => {
    const headers = { 'X-Forwarded-For': address };
    return fetch(beginning().replace(server.url, proxied.url), { redirect: 'manual', headers });
  };
  for (let count = 0; count < 100; count += 1) assert.equal((await begin('192.0.2.1')).status, 302);
  const slowed = await begin('192.0.2.1');
  assert.deepEqual([slowed.status, Number(slowed.headers.get('retry-after')) > 0], [429, true]);
  assert.equal((await begin('192.0.2.2')).status, 302);
});
