// Access tokens that are not ours, and the keys of those that are: the public set, forgeries, replacement with overlap.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  createLocalJWKSet,
  decodeJwt,
  decodeProtectedHeader,
  exportJWK,
  generateKeyPair,
  jwtVerify,
  SignJWT,
  UnsecuredJWT,
} from 'jose';
import { createTokenKeys } from '../../src/api/token-keys.ts';
import { newId } from '../../src/main/ids.ts';
import type { JwkSet, SessionTokens } from '../../src/protocol/sign-in.ts';
import type { Client } from '../support/client.ts';
import { setSqlClock, startTestServer } from '../support/server.ts';

const server = await startTestServer({ hasScheduler: false });
const { admin } = server;
const replica = await server.startReplica();
const elsewhere = server.client(server.adminKey, replica.url);

function signIn(client: Client = admin): Promise<SessionTokens> {
  return client.ask<SessionTokens>('POST', '/v1/sign-in', { body: {} });
}

const bearing = (token: string) => ({ isSigned: false, headers: { Authorization: `Bearer ${token}` } });

async function codeOf(client: Client, token: string): Promise<string> {
  return (await client.refusal('GET', '/v1/jobs', bearing(token))).code;
}

test('the public set verifies tokens of every replica, and holds nothing private', async () => {
  const [first, second] = await Promise.all(
    [server.url, replica.url].map(async (url) => (await fetch(`${url}/.well-known/jwks`)).json()),
  );
  assert.deepEqual(first, second);
  const set = first as JwkSet;
  assert.equal(set.keys.length, 1);
  assert.ok(!('d' in (set.keys[0] ?? {})));
  const { access_token: token } = await signIn(elsewhere);
  const { protectedHeader } = await jwtVerify(token, createLocalJWKSet(set), { typ: 'at+jwt' });
  assert.deepEqual([protectedHeader.alg, protectedHeader.kid], ['ES256', set.keys[0]?.kid]);
});

test('tokens that are forged, foreign, of another kind or over are refused with a clear code', async () => {
  const { access_token: token, session_uuid: sid } = await signIn();
  const header = decodeProtectedHeader(token);
  const kid = String(header.kid);
  const claims = decodeJwt(token);
  const stranger = await generateKeyPair('ES256', { extractable: true });
  const signed = (own: object, key: Parameters<SignJWT['sign']>[0], head: object = {}) =>
    new SignJWT({ ...claims, ...own })
      .setProtectedHeader({ alg: 'ES256', typ: 'at+jwt', kid, ...head })
      .sign(key);
  const [publicJwk] = ((await (await fetch(`${server.url}/.well-known/jwks`)).json()) as JwkSet).keys;
  const [head = '', payload = '', signature = ''] = token.split('.');
  const ours = createTokenKeys({ ...server.storage, now: Date.now, newId });
  const { key } = await ours.signing();
  const changed = Buffer.from(JSON.stringify({ ...claims, permissions: ['cluster:admin'] })).toString(
    'base64url',
  );
  const nowSeconds = Math.floor(Date.now() / 1000);
  const bad: [string, string, string][] = [
    ['unsigned', new UnsecuredJWT(claims).encode(), 'token_invalid'],
    [
      'alg none',
      `${Buffer.from('{"alg":"none","typ":"at+jwt"}').toString('base64url')}.${payload}.`,
      'token_invalid',
    ],
    [
      'HS256 with the public key',
      await signed({}, Buffer.from(JSON.stringify(publicJwk)), { alg: 'HS256' }),
      'token_invalid',
    ],
    ['signed by a stranger', await signed({}, stranger.privateKey), 'token_invalid'],
    [
      'its own key in the header',
      await signed({}, stranger.privateKey, { jwk: await exportJWK(stranger.publicKey) }),
      'token_invalid',
    ],
    ['unknown key', await signed({}, stranger.privateKey, { kid: newId() }), 'token_invalid'],
    ['no key named', await signed({}, key, { kid: undefined }), 'token_invalid'],
    ['changed claims', `${head}.${changed}.${signature}`, 'token_invalid'],
    ['no signature', `${head}.${payload}.`, 'token_invalid'],
    ['another issuer', await signed({ iss: 'urn:flotilla:other' }, key), 'token_invalid'],
    ['another audience', await signed({ aud: 'other' }, key), 'token_invalid'],
    ['another type', await signed({}, key, { typ: 'JWT' }), 'token_invalid'],
    ['no end', await signed({ exp: undefined }, key), 'token_invalid'],
    ['no session', await signed({ sid: undefined }, key), 'token_invalid'],
    ['unknown session', await signed({ sid: newId() }, key), 'token_invalid'],
    ['session of another shape', await signed({ sid: 'x' }, key), 'token_invalid'],
    ['over', await signed({ exp: nowSeconds - 1 }, key), 'token_expired'],
    ['not a token', 'abc', 'token_invalid'],
    ['dots', '...', 'token_invalid'],
    ['long', `${'A'.repeat(5_000)}.${'B'.repeat(5_000)}.C`, 'token_invalid'],
  ];
  for (const [name, forged, code] of bad) assert.equal(await codeOf(admin, forged), code, name);
  // The same maker's work is accepted when nothing is wrong with it, and no more rights come of it than the key has.
  await admin.ask('GET', '/v1/jobs', bearing(await signed({ sid }, key)));
});

test('keys are replaced with overlap: published ahead, verifying after, then gone', async () => {
  const hourMs = 3_600_000;
  const monthMs = 30 * 24 * hourMs;
  const [{ first } = { first: 0 }] = await server.database.query<{ first: number }>(
    'select min(signs_from) as first from token_keys',
  );
  // Each look is a replica's that started just then; two at once make one key between them.
  const look = async (atMs: number) => {
    await setSqlClock(server, first + atMs - Date.now());
    const fresh = () => createTokenKeys({ ...server.storage, now: Date.now, newId });
    const [one, other] = [fresh(), fresh()];
    const [mine, theirs] = await Promise.all([one.publicSet(), other.publicSet()]);
    assert.deepEqual(mine, theirs);
    assert.equal((await one.signing()).id, (await other.signing()).id);
    return { ids: mine.keys.map((key) => key.kid), signing: (await one.signing()).id };
  };
  try {
    const start = await look(1_000);
    assert.deepEqual(start.ids, [start.signing]);
    const ahead = await look(monthMs - hourMs / 2);
    assert.equal(ahead.ids.length, 2);
    assert.equal(ahead.signing, start.signing);
    const turned = await look(monthMs + (3 * hourMs) / 4);
    assert.deepEqual(turned.ids, ahead.ids);
    assert.equal(turned.signing, ahead.ids[0]);
    const over = await look(2 * monthMs);
    assert.equal(over.ids.length, 2);
    assert.ok(!over.ids.includes(start.signing));
    assert.equal(over.signing, turned.signing);
  } finally {
    await setSqlClock(server, 0);
  }
});
