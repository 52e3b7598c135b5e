// `flotilla login` with a browser at a real provider and with a key; commands that use, renew and end the session.
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { Io } from '../../src/cli/io.ts';
import { runProgram } from '../../src/cli/program.ts';
import type { Roles } from '../../src/cli/roles.ts';
import type { SessionTokens } from '../../src/protocol/sign-in.ts';
import { createClient } from '../../src/sdk/client.ts';
import { endSession, renewingTokens } from '../../src/sdk/sign-in.ts';
import { startOpenIdProvider, TestBrowser } from '../support/openid-provider.ts';
import { startTestServer } from '../support/server.ts';

const server = await startTestServer({ hasScheduler: false });
const port = await freePort();
const url = `http://127.0.0.1:${port}`;
let atBrowser: string | null = 'ann';
const provider = await startOpenIdProvider({
  people: [{ sub: 'ann', email: 'ann@example.org', email_verified: true }],
  redirectUri: `${url}/v1/sign-in/oidc/callback`,
  login: () => atBrowser,
});
after(() => provider.stop());
const { issuer, clientId, clientSecret } = provider;
await server.startReplica({
  port,
  oidc: {
    ...{ issuer, clientId, clientSecret, scope: 'openid email' },
    mappings: [{ claim: 'email', value: 'ann@example.org', account: 'admin', preset: 'consumer' }],
  },
});
const folder = mkdtempSync(join(tmpdir(), 'flotilla-login-'));
after(() => rmSync(folder, { recursive: true }));

async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve));
  const { port: found } = probe.address() as AddressInfo;
  await new Promise((resolve) => probe.close(resolve));
  return found;
}

let places = 0;
/** Somebody's machine: a data directory of its own. */
function aPlace(): string {
  places += 1;
  const place = join(folder, `place-${places}`);
  mkdirSync(place);
  return place;
}

interface Said {
  code: number;
  stdout: string;
  stderr: string;
}

/** `onAddress` is told where the command sends the browser. */
async function flotilla(
  place: string,
  args: string[],
  options: { env?: Record<string, string>; onAddress?: (address: string) => void } = {},
): Promise<Said> {
  const said = { stdout: '', stderr: '' };
  const never = () => assert.fail('no role is asked for here');
  const roles: Roles = {
    ...{ version: 'test', up: never, server: never, nodeRun: never },
    ...{ clusterRestored: never, keyRecover: never },
  };
  const io: Io = {
    stdin: (async function* () {})(),
    stdout: { write: (text) => (said.stdout += text) },
    stderr: {
      write: (text) => {
        said.stderr += text;
        const [address] = /http\S+\/v1\/sign-in\/oidc\?\S+/.exec(text) ?? [];
        if (address !== undefined) options.onAddress?.(address);
      },
    },
    env: { FLOTILLA_DATA_DIR: place, ...options.env },
    ...{ homeDirectory: place, isRoot: false, nowMs: Date.now, sleep: async () => {} },
    onInterrupt: () => () => {},
  };
  return { code: await runProgram(args, roles, io), ...said };
}

/** Logs in as whoever is at the browser; answers what the browser shows at the end, too. */
async function login(place: string): Promise<Said & { page: string }> {
  let page = Promise.resolve('');
  const onAddress = (address: string) => {
    const browser = new TestBrowser();
    const isBack = (at: URL) => at.origin !== new URL(issuer).origin && at.origin !== url;
    page = browser.follow(address, isBack).then(async (at) => (await browser.visit(at)).text);
  };
  const said = await flotilla(place, ['login', '--url', url, '--no-browser'], { onAddress });
  return { ...said, page: await page };
}

const sessionOf = (place: string) => JSON.parse(readFileSync(join(place, 'session.json'), 'utf8'));

test('login by the provider, commands as that person, logout', async () => {
  const place = aPlace();
  const said = await login(place);
  assert.equal(said.code, 0, said.stderr);
  assert.match(said.page, /You are signed in/);
  assert.match(said.stdout, new RegExp(`Signed in at ${url}, account ${server.storage.account.id}`));
  assert.equal(statSync(join(place, 'session.json')).mode & 0o777, 0o600);
  const list = await flotilla(place, ['job', 'list', '--json']);
  assert.deepEqual([list.code, list.stderr], [0, '']);
  const denied = await flotilla(place, ['key', 'list']);
  assert.match(denied.stderr, /lacks the permission keys:read/);
  const { refresh_token: refreshToken } = sessionOf(place);
  const out = await flotilla(place, ['logout']);
  assert.deepEqual([out.code, out.stdout], [0, `Signed out of ${url}.\n`]);
  assert.match((await flotilla(place, ['logout'])).stderr, /You are not signed in/);
  assert.match((await flotilla(place, ['job', 'list'])).stderr, /flotilla login/);
  await assert.rejects(
    renewingTokens({ url }, { tokens: { ...aToken, refresh_token: refreshToken } })(),
    /session has ended/,
  );
});

const aToken: SessionTokens = {
  ...{ object: 'session_tokens', session_uuid: '', account_uuid: '', token_type: 'Bearer', permissions: [] },
  ...{ access_token: 'a.b.c', refresh_token: '', expires_at: '2020-01-01T00:00:00.000Z' },
  refresh_expires_at: '2020-01-01T00:00:00.000Z',
};

test('who says no, and who is mapped to nothing, is told so in the terminal and in the browser', async () => {
  for (const [person, message] of [
    [null, /The provider did not sign you in/],
    ['eve', /nothing here maps you to an account/],
  ] as const) {
    atBrowser = person;
    const place = aPlace();
    const said = await login(place);
    atBrowser = 'ann';
    assert.equal(said.code === 0, false);
    assert.match(said.stderr, message);
    assert.match(said.page, message);
    assert.throws(() => sessionOf(place), /ENOENT/);
  }
});

test('the port for the browser answers nobody who does not know the state', async () => {
  const place = aPlace();
  let answers: Promise<number[]> = Promise.resolve([]);
  const onAddress = (address: string) => {
    const back = new URL(address).searchParams.get('redirect_uri') ?? '';
    answers = (async () => {
      const statuses = [];
      for (const query of ['?code=x', '?code=x&state=y', 'other?code=x'])
        statuses.push((await fetch(back + query)).status);
      const browser = new TestBrowser();
      await browser.visit(await browser.follow(address, (at) => at.origin === new URL(back).origin));
      return statuses;
    })();
  };
  const said = await flotilla(place, ['login', '--url', url, '--no-browser'], { onAddress });
  assert.deepEqual(await answers, [404, 404, 404]);
  assert.equal(said.code, 0, said.stderr);
});

test('login with a key, and the server is where the key says', async () => {
  const place = aPlace();
  const { publicKey, secretKey } = server.adminKey;
  const keyFile = join(place, 'key.json');
  writeFileSync(keyFile, JSON.stringify({ public_key: publicKey, secret_key: secretKey, url: server.url }));
  const said = await flotilla(place, ['login', '--with-key', '--key-file', keyFile]);
  assert.equal(said.code, 0, said.stderr);
  rmSync(keyFile);
  assert.equal((await flotilla(place, ['key', 'list', '--json'])).code, 0);
  const { session_uuid: uuid } = sessionOf(place);
  assert.match((await flotilla(place, ['session', 'list'])).stdout, new RegExp(`${uuid} +key .*valid`));
  assert.equal((await flotilla(place, ['session', 'revoke', uuid])).stdout, `Session ${uuid} is ended.\n`);
});

test('commands at the same moment renew an old token once between them', async () => {
  const place = aPlace();
  await login(place);
  const session = sessionOf(place);
  const old = { ...session, expires_at: new Date(Date.now() + 1_000).toISOString() };
  writeFileSync(join(place, 'session.json'), JSON.stringify(old));
  const many = await Promise.all(Array.from({ length: 6 }, () => flotilla(place, ['job', 'list', '--json'])));
  assert.deepEqual(
    many.map(({ code, stderr }) => [code, stderr]),
    Array.from({ length: 6 }, () => [0, '']),
  );
  const renewed = sessionOf(place);
  assert.notEqual(renewed.refresh_token, session.refresh_token);
  assert.equal(renewed.session_uuid, session.session_uuid);
  assert.equal(renewed.url, url);
});

test('a session that ended elsewhere is told with what to do', async () => {
  const place = aPlace();
  await login(place);
  const session = sessionOf(place);
  await endSession({ url }, session.refresh_token);
  const over = await flotilla(place, ['job', 'list']);
  assert.match(over.stderr, /The session of this token has ended; sign in again/);
  const old = { ...session, expires_at: '2020-01-01T00:00:00.000Z' };
  writeFileSync(join(place, 'session.json'), JSON.stringify(old));
  assert.match((await flotilla(place, ['job', 'list'])).stderr, /You are signed out of .*flotilla login/);
});

test('the SDK signs with tokens and renews them, once for many calls at the same moment', async () => {
  const { publicKey, secretKey } = server.adminKey;
  const byKey = createClient({ url: server.url, publicKey, secretKey });
  const tokens = await byKey.signIn({ permissions: ['jobs:read'] });
  byKey.close();
  let nowMs = Date.now();
  const stored: string[] = [];
  const token = renewingTokens(
    { url: server.url },
    {
      tokens,
      nowMs: () => nowMs,
      store: async ({ refresh_token: secret }) => void stored.push(secret),
    },
  );
  const client = createClient({ url: server.url, token });
  try {
    await client.jobs.list();
    await assert.rejects(client.nodes.list(), { code: 'permission_denied' });
    assert.equal(await token(), tokens.access_token);
    nowMs += 9.5 * 60_000;
    await Promise.all(Array.from({ length: 5 }, () => client.jobs.list()));
    assert.equal(stored.length, 1);
    assert.notEqual(await token(), tokens.access_token);
  } finally {
    client.close();
  }
});
