// Finding server and key: the order of sources, and one sentence for each thing that is missing or wrong.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { defaultDataDirectory, findConnection } from './connection.ts';

const folder = mkdtempSync(join(tmpdir(), 'flotilla-connection-'));
after(() => rmSync(folder, { recursive: true }));

function keyFile(name: string, content: unknown): string {
  const file = join(folder, name);
  writeFileSync(file, typeof content === 'string' ? content : JSON.stringify(content));
  return file;
}
function ioWith(env: Record<string, string>) {
  return { env: { FLOTILLA_DATA_DIR: folder, ...env }, homeDirectory: folder, isRoot: false };
}
const option = keyFile('option.json', { public_key: 'pk_o', secret_key: 'sk_o', url: 'http://option:1' });
const named = keyFile('named.json', {
  public_key: 'pk_n',
  secret_key: 'sk_n',
  url: 'http://named:1',
  ca: 'PEM',
});

test('options go before environment, environment before files', async () => {
  const env = {
    FLOTILLA_URL: 'http://env:1',
    FLOTILLA_PUBLIC_KEY: 'pk_e',
    FLOTILLA_SECRET_KEY: 'sk_e',
    FLOTILLA_KEY_FILE: named,
  };
  assert.deepEqual(await findConnection(ioWith(env), { url: 'https://flag:1', keyFile: option }), {
    url: 'https://flag:1',
    publicKey: 'pk_o',
    secretKey: 'sk_o',
  });
  assert.equal((await findConnection(ioWith(env), { keyFile: option })).url, 'http://env:1');
  assert.deepEqual(await findConnection(ioWith(env), {}), {
    url: 'http://env:1',
    publicKey: 'pk_e',
    secretKey: 'sk_e',
  });
  assert.deepEqual(await findConnection(ioWith({ FLOTILLA_KEY_FILE: named }), {}), {
    url: 'http://named:1',
    publicKey: 'pk_n',
    secretKey: 'sk_n',
    ca: 'PEM',
  });
});

test('the local server is found by its key file', async () => {
  await assert.rejects(
    findConnection(ioWith({}), {}),
    /No key found in .*admin-key\.json: start a server here/,
  );
  const file = keyFile('admin-key.json', { public_key: 'pk_l', secret_key: 'sk_l', url: 'http://local:1' });
  const local = { url: 'http://local:1', publicKey: 'pk_l', secretKey: 'sk_l' };
  assert.deepEqual(await findConnection(ioWith({}), {}), local);
  rmSync(file);
});

test('a session comes before the local key, after keys that were named, and goes to its own server alone', async () => {
  const [session, local] = [
    keyFile('session.json', {
      ...{ url: 'http://signed-in:1', access_token: 'a.b.c', refresh_token: 'rt_x' },
      expires_at: new Date(Date.now() + 600_000).toISOString(),
    }),
    keyFile('admin-key.json', { public_key: 'pk_l', secret_key: 'sk_l', url: 'http://local:1' }),
  ];
  const found = await findConnection(ioWith({}), {});
  assert.ok('token' in found && found.url === 'http://signed-in:1');
  assert.equal(await found.token(), 'a.b.c');
  assert.ok('publicKey' in (await findConnection(ioWith({ FLOTILLA_KEY_FILE: named }), {})));
  assert.ok('publicKey' in (await findConnection(ioWith({}), { keyFile: option })));
  const elsewhere = await findConnection(ioWith({}), { url: 'http://elsewhere:1' });
  assert.ok('publicKey' in elsewhere && elsewhere.publicKey === 'pk_l');
  assert.ok('token' in (await findConnection(ioWith({ FLOTILLA_URL: 'http://signed-in:1/' }), {})));
  for (const spoilt of ['{', '{}', '[]', 'null'])
    await assert.rejects(
      findConnection(ioWith({ FLOTILLA_DATA_DIR: spoiltFolder(spoilt) }), {}),
      /sign in again/,
    );
  for (const file of [session, local]) rmSync(file);
});

function spoiltFolder(content: string): string {
  const own = mkdtempSync(join(folder, 'spoilt-'));
  writeFileSync(join(own, 'session.json'), content);
  return own;
}

test('says what is missing or wrong', async () => {
  const half = ioWith({ FLOTILLA_PUBLIC_KEY: 'pk_e' });
  await assert.rejects(findConnection(half, {}), /Set both FLOTILLA_PUBLIC_KEY and FLOTILLA_SECRET_KEY/);
  const keysOnly = ioWith({ FLOTILLA_PUBLIC_KEY: 'pk_e', FLOTILLA_SECRET_KEY: 'sk_e' });
  await assert.rejects(findConnection(keysOnly, {}), /No server address: give --url/);
  await assert.rejects(findConnection(keysOnly, { url: 'host:80' }), /"host:80" is not a server address/);
  await assert.rejects(
    findConnection(ioWith({}), { keyFile: join(folder, 'absent') }),
    /Cannot read the key file .*absent: there is no such file/,
  );
  for (const content of ['not json', '"text"', 'null', { public_key: 'pk' }]) {
    const bad = keyFile('bad.json', content);
    await assert.rejects(findConnection(ioWith({}), { keyFile: bad }), /is not a key file: it must be JSON/);
  }
});

test('the data directory depends on who asks', () => {
  const person = { env: {}, homeDirectory: '/home/ada', isRoot: false };
  assert.equal(defaultDataDirectory(person), '/home/ada/.flotilla');
  assert.equal(defaultDataDirectory({ ...person, isRoot: true }), '/var/lib/flotilla');
  assert.equal(defaultDataDirectory({ ...person, env: { FLOTILLA_DATA_DIR: '/data' } }), '/data');
});
