// Tests of the client from the environment: which key and address it takes, seen by the request that it sends.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { clientFromEnvironment } from './environment.ts';

const folder = mkdtempSync(join(tmpdir(), 'flotilla-environment-'));
const keys: unknown[] = [];
const server = createServer((request, response) => {
  keys.push(request.headers['x-api-key']);
  response.end('{}');
});
await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
after(() => {
  server.closeAllConnections();
  server.close();
  rmSync(folder, { recursive: true, force: true });
});
const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

function keyFile(content: object): string {
  const file = join(folder, 'key.json');
  writeFileSync(file, JSON.stringify(content));
  return file;
}

async function keyAsked(env: Record<string, string>): Promise<unknown> {
  const client = clientFromEnvironment(env);
  await client.users.me();
  client.close();
  return keys.at(-1);
}

test('two variables are the key; a file is key and address; the variables go first', async () => {
  const pair = { FLOTILLA_PUBLIC_KEY: 'pk_env', FLOTILLA_SECRET_KEY: 'sk_env' };
  assert.equal(await keyAsked({ ...pair, FLOTILLA_URL: url }), 'pk_env');
  const file = {
    FLOTILLA_KEY_FILE: keyFile({ public_key: 'pk_file', secret_key: 'sk_file', url, ca: null }),
  };
  assert.equal(await keyAsked({ ...file, FLOTILLA_PUBLIC_KEY: '', FLOTILLA_SECRET_KEY: '' }), 'pk_file');
  assert.equal(await keyAsked({ ...file, ...pair, FLOTILLA_URL: url }), 'pk_env');
});

test('what is missing is said', () => {
  const missing = /There is no key to sign with\. Set FLOTILLA_KEY_FILE/;
  assert.throws(() => clientFromEnvironment({}), missing);
  assert.throws(() => clientFromEnvironment({ FLOTILLA_PUBLIC_KEY: 'pk' }), missing);
  const file = { FLOTILLA_KEY_FILE: keyFile({ public_key: 'pk', secret_key: 'sk' }) };
  assert.throws(() => clientFromEnvironment({ ...file, FLOTILLA_SECRET_KEY: 'half' }), missing);
  assert.throws(() => clientFromEnvironment({ FLOTILLA_KEY_FILE: keyFile({}) }), missing);
  const gone = { FLOTILLA_KEY_FILE: join(folder, 'gone.json') };
  assert.throws(() => clientFromEnvironment(gone), /gone\.json cannot be read/);
});
