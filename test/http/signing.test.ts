// Signing over the wire: every variant of the foreign client, clock, nonces, keys, addresses, permissions, throttling.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHmac, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { promisify } from 'node:util';
import { readJobRequest } from '../../src/api/job-request.ts';
import { createJobSubmitter } from '../../src/db/job-submit.ts';
import { newId } from '../../src/main/ids.ts';
import { aJob } from '../support/builders.ts';
import type { Refusal, SendOptions } from '../support/client.ts';
import { eventually, startTestServer } from '../support/server.ts';

const server = await startTestServer({ hasScheduler: false, trustedProxies: ['127.0.0.1'] });
const { admin } = server;
const folder = mkdtempSync(join(tmpdir(), 'flotilla-signing-'));
after(() => rmSync(folder, { recursive: true }));

const foreignClient = new URL('../support/python-client/flotilla_client.py', import.meta.url).pathname;
const keyFile = join(folder, 'key.json');
const { publicKey, secretKey } = server.adminKey;
writeFileSync(keyFile, JSON.stringify({ public_key: publicKey, secret_key: secretKey, url: server.url }));

for (const variant of ['V1', 'V1b', 'V2', 'V3', 'V4', 'V5', 'WHATWG']) {
  for (const wire of [[], ['--loose-wire']]) {
    test(`a foreign client signs by ${[variant, ...wire].join(' ')}`, async () => {
      const options = ['--key-file', keyFile, '--variant', variant, ...wire, 'exercise', '--no-wait'];
      const { stdout } = await promisify(execFile)('python3', [foreignClient, ...options], {
        timeout: 60_000,
      });
      const outcome = JSON.parse(stdout) as Record<string, unknown>;
      assert.deepEqual(
        [outcome.variant, outcome.loose_wire, outcome.created_status, outcome.cancelled_status],
        [variant, wire.length > 0, 'PENDING', 'CANCELLED'],
      );
      assert.equal((await admin.getJob(String(outcome.job_uuid))).status, 'CANCELLED');
    });
  }
}

test('the test vectors of the reference are what this client signs', () => {
  const client = server.client({ publicKey: 'pk_test', secretKey: 'sk_test' });
  const fixed = { nonce: '0'.repeat(32), timeMs: 1_706_918_400_000 };
  const signature = (method: string, path: string, raw = '') =>
    client.sign(method, path, { ...fixed, raw })['X-Signature'];
  assert.equal(
    signature('POST', '/v1/jobs?b=2&a=1', '{"z":1}'),
    'e8102b11e024a39d0982552c43878b8d41147b2caa74c615f4f710222d28f382',
  );
  assert.equal(
    signature(
      'PUT',
      '/v1/jobs/3c90c3cc-0d44-4b50-8888-8dd25736052a/cancel',
      '{"reason":"Cancelled by user"}',
    ),
    'c875bc08a9ae860d50a53b393ade3570470a846fb10c00891eb342c043ddec36',
  );
});

/** Failures are counted by address, so every test fails from its own. */
let addresses = 0;
function fromElsewhere(): Record<string, string> {
  addresses += 1;
  return { 'X-Forwarded-For': `198.51.100.${addresses}` };
}

test('a wrong signature is told the canonical string, which accepted when signed', async () => {
  const body = aJob({ title: 'Rendu café' });
  const raw = JSON.stringify(body);
  const headers = fromElsewhere();
  const signed = admin.sign('POST', '/v1/jobs', { raw });
  const wrong = { ...signed, ...headers, 'X-Signature': '0'.repeat(64) };
  const refusal = await admin.refusal('POST', '/v1/jobs', { raw, headers: wrong });
  assert.deepEqual([refusal.status, refusal.code], [401, 'signature_invalid']);
  const { canonical_string: canonical } = refusal.details as { canonical_string: string };
  assert.ok(!canonical.includes(secretKey));
  const right = createHmac('sha256', secretKey).update(canonical).digest('hex');
  const answer = await admin.send('POST', '/v1/jobs', { raw, headers: { ...wrong, 'X-Signature': right } });
  assert.equal(answer.status, 201);
});

test('a changed method, path, query, body, time or nonce breaks the signature', async () => {
  const raw = JSON.stringify(aJob());
  const headers = { ...fromElsewhere(), ...admin.sign('POST', '/v1/jobs', { raw }) };
  const changed: [method: string, path: string, options: SendOptions][] = [
    ['PUT', '/v1/jobs/019582a6-27fc-731d-8000-000000000000/cancel', { raw, headers }],
    ['POST', '/v1/nodes', { raw, headers }],
    ['POST', '/v1/jobs?a=1', { raw, headers }],
    ['POST', '/v1/jobs', { raw: raw.replace('a job', 'A job'), headers }],
    ['POST', '/v1/jobs', { raw, headers: { ...headers, 'X-Time': String(Date.now() + 7) } }],
    ['POST', '/v1/jobs', { raw, headers: { ...headers, 'X-Nonce': randomBytes(16).toString('hex') } }],
  ];
  for (const [method, path, options] of changed) {
    assert.equal((await admin.refusal(method, path, options)).code, 'signature_invalid', path);
  }
  assert.equal((await admin.send('POST', '/v1/jobs', { raw, headers })).status, 201);
});

for (const [name, value] of [
  ['X-API-Key', 'not a key!'],
  ['X-Time', 'now'],
  ['X-Nonce', 'short'],
  ['X-Signature', 'xyz'],
] as const) {
  test(`${name} missing or malformed is told by name`, async () => {
    const elsewhere = fromElsewhere();
    for (const given of [undefined, value]) {
      const headers = { ...elsewhere, [name]: given };
      const refusal = await admin.refusal('GET', '/v1/jobs', { headers });
      assert.deepEqual([refusal.status, refusal.code], [401, 'signature_invalid']);
      assert.match(
        refusal.message,
        new RegExp(`${name} is ${given === undefined ? 'missing' : 'malformed'}`),
      );
    }
  });
}

test('header names count in any case', async () => {
  const signed = Object.entries(admin.sign('GET', '/v1/jobs'));
  const headers = Object.fromEntries(signed.map(([name, value]) => [name.toLowerCase(), value]));
  assert.equal((await admin.send('GET', '/v1/jobs', { isSigned: false, headers })).status, 200);
});

test('the clock may be five minutes off, not more', async () => {
  const headers = fromElsewhere();
  for (const minutes of [-4.9, 4.9]) {
    const timeMs = Date.now() + Math.round(minutes * 60_000);
    assert.equal((await admin.send('GET', '/v1/jobs', { timeMs, headers })).status, 200);
  }
  for (const minutes of [-5.1, 5.1]) {
    const timeMs = Date.now() + Math.round(minutes * 60_000);
    const refusal = await admin.refusal('GET', '/v1/jobs', { timeMs, headers });
    assert.deepEqual([refusal.status, refusal.code], [401, 'clock_skew']);
    const { x_time_ms: told, server_time_ms: ours } = refusal.details as Record<string, number>;
    assert.equal(told, timeMs);
    assert.ok(Math.abs((ours ?? 0) - Date.now()) < 60_000);
  }
});

const stopPath = async () => `/v1/jobs/${(await admin.createJob(aJob())).uuid}/cancel`;
const withNonces: Record<string, () => Promise<[method: string, path: string, options: SendOptions]>> = {
  'POST /v1/jobs': async () => ['POST', '/v1/jobs', { body: aJob() }],
  'PUT cancel': async () => ['PUT', await stopPath(), { body: {} }],
  'POST /v1/api-keys': async () => ['POST', '/v1/api-keys', { body: {} }],
  'DELETE /v1/api-keys': async () => ['DELETE', `/v1/api-keys/${(await server.createKey()).id}`, {}],
  'POST /v1/nodes': async () => ['POST', '/v1/nodes', { body: { name: `n${addresses}` } }],
  'GET /v1/jobs': async () => ['GET', '/v1/jobs', {}],
};
for (const [name, make] of Object.entries(withNonces)) {
  test(`${name} takes a nonce once per key`, async () => {
    const [method, path, options] = await make();
    const nonce = randomBytes(16).toString('hex');
    const headers = fromElsewhere();
    assert.ok((await admin.send(method, path, { ...options, nonce, headers })).status < 300);
    const refusal = await admin.refusal(method, path, { ...options, nonce, headers });
    assert.deepEqual([refusal.status, refusal.code], [401, 'nonce_reused']);
    const second = server.client(await server.createKey({ preset: 'admin' }));
    assert.notEqual((await second.send(method, path, { ...options, nonce, headers })).status, 401);
  });
}

test('equal nonces at once make one job', async () => {
  const nonce = randomBytes(16).toString('hex');
  const headers = fromElsewhere();
  const answers = await Promise.all(
    Array.from({ length: 16 }, () => admin.send('POST', '/v1/jobs', { body: aJob(), nonce, headers })),
  );
  const statuses = answers.map((answer) => answer.status).sort();
  assert.deepEqual(statuses, [201, ...Array.from({ length: 15 }, () => 401)]);
});

test('equal nonces in one commit make one job', async () => {
  const { database, storage } = server;
  const submitter = createJobSubmitter(database, storage.vault);
  const nonce = { keyId: newId(), value: randomBytes(16).toString('hex') };
  const { spec, imageSizeBytes } = readJobRequest(aJob());
  const job = {
    accountId: storage.account.id,
    spec,
    imageSizeBytes,
    sourceRecipeUuid: null,
    idempotency: null,
    actor: { kind: 'test' },
  };
  const submits = [newId(), newId(), newId()].map((id) => submitter.submit({ ...job, id, nonce }));
  const outcomes = (await Promise.all(submits)).map((outcome) => outcome.kind);
  assert.deepEqual(outcomes.sort(), ['created', 'nonce_reused', 'nonce_reused']);
});

test('a second replica knows the nonces of requests with effect', async () => {
  const { url } = await server.startReplica();
  const nonce = randomBytes(16).toString('hex');
  const raw = JSON.stringify(aJob());
  const headers = { ...fromElsewhere(), ...admin.sign('POST', '/v1/jobs', { raw, nonce }) };
  assert.equal((await admin.send('POST', '/v1/jobs', { raw, headers })).status, 201);
  const again = await fetch(`${url}/v1/jobs`, {
    method: 'POST',
    body: raw,
    headers: { 'content-type': 'application/json', ...headers },
  });
  assert.equal(again.status, 401);
});

async function refusalOf(key: Parameters<typeof server.createKey>[0], address?: string): Promise<Refusal> {
  const client = server.client(await server.createKey(key));
  const headers = address === undefined ? fromElsewhere() : { 'X-Forwarded-For': address };
  return client.refusal('GET', '/v1/jobs', { headers });
}

test('an unknown key, an expired key and a key from a wrong address are refused', async () => {
  const unknown = server.client({ publicKey: 'pk_nobody', secretKey });
  const refusal = await unknown.refusal('GET', '/v1/jobs', { headers: fromElsewhere() });
  assert.deepEqual([refusal.status, refusal.code], [401, 'key_unknown']);
  const expired = await refusalOf({ expiresAtMs: Date.now() - 1_000 });
  assert.deepEqual([expired.status, expired.code], [401, 'key_expired']);
  const elsewhere = await refusalOf({ allowedIps: ['203.0.113.0/24'] }, '203.0.112.9');
  assert.deepEqual([elsewhere.status, elsewhere.code], [403, 'ip_not_allowed']);
});

test('an expiry to come and an allowed address let pass', async () => {
  const allowed: [ip: string, address: string][] = [
    ['203.0.113.0/24', '203.0.113.9'],
    ['203.0.113.9', '203.0.113.9'],
    ['203.0.113.0/24', '::ffff:203.0.113.9'],
    ['2001:db8::/32', '2001:db8:1::1'],
  ];
  for (const [ip, address] of allowed) {
    const key = await server.createKey({ allowedIps: [ip], expiresAtMs: Date.now() + 60_000 });
    const headers = { 'X-Forwarded-For': address };
    assert.equal((await server.client(key).send('GET', '/v1/jobs', { headers })).status, 200, address);
  }
});

test('a revoked key works no more, at once and on every replica', async () => {
  const { url } = await server.startReplica();
  const key = await server.createKey();
  const client = server.client(key);
  const there = () =>
    fetch(`${url}/v1/jobs`, {
      headers: { ...client.sign('GET', '/v1/jobs'), 'X-Forwarded-For': '192.0.2.77' },
    });
  await client.listJobs();
  assert.equal((await there()).status, 200);
  const revoked = await admin.ask<{ revoked_at: string }>('DELETE', `/v1/api-keys/${key.id}`);
  assert.ok(revoked.revoked_at);
  const refusal = await client.refusal('GET', '/v1/jobs', { headers: fromElsewhere() });
  assert.deepEqual([refusal.status, refusal.code], [401, 'key_expired']);
  await eventually('the other replica knows', async () => (await there()).status === 401, 2_000);
  const again = await admin.ask<{ revoked_at: string }>('DELETE', `/v1/api-keys/${key.id}`);
  assert.equal(again.revoked_at, revoked.revoked_at, 'the first revocation stands');
});

test('presets: a consumer makes jobs and no nodes or keys, a node nothing at all', async () => {
  const consumer = server.client(await server.createKey({ preset: 'consumer' }));
  const job = await consumer.createJob(aJob());
  assert.equal((await consumer.stopJob(job.uuid)).status, 'CANCELLED');
  assert.equal((await consumer.send('GET', '/v1/nodes')).status, 200);
  for (const path of ['/v1/nodes', '/v1/api-keys']) {
    assert.equal((await consumer.refusal('POST', path, { body: { name: 'x' } })).code, 'permission_denied');
  }
  assert.equal((await consumer.refusal('GET', '/v1/api-keys')).code, 'permission_denied');
  const made = await admin.ask<{ key: { public_key: string; secret_key: string } }>('POST', '/v1/nodes', {
    body: { name: 'powerless' },
  });
  const node = server.client({ publicKey: made.key.public_key, secretKey: made.key.secret_key });
  for (const path of ['/v1/jobs', '/v1/job-runs', '/v1/nodes', '/v1/api-keys']) {
    assert.equal((await node.refusal('GET', path)).code, 'permission_denied', path);
  }
  assert.equal((await node.refusal('POST', '/v1/jobs', { body: aJob() })).code, 'permission_denied');
});

interface MadeKey {
  uuid: string;
  public_key: string;
  secret_key: string;
  permissions: string[];
  expires_at: string | null;
}

test('keys made through the API work, within what their maker has', async () => {
  const expires = new Date(Date.now() + 3_600_000).toISOString();
  const body = { name: 'ci', permissions: ['jobs:read'], expires_at: expires, allowed_ips: ['127.0.0.1'] };
  const made = await admin.ask<MadeKey>('POST', '/v1/api-keys', { body });
  assert.deepEqual([made.permissions, made.expires_at], [['jobs:read'], expires]);
  assert.match(`${made.public_key} ${made.secret_key}`, /^pk_[A-Za-z0-9]{24} sk_[A-Za-z0-9]{40}$/);
  const reader = server.client({ publicKey: made.public_key, secretKey: made.secret_key });
  await reader.listJobs();
  assert.equal((await reader.refusal('POST', '/v1/jobs', { body: aJob() })).code, 'permission_denied');
  const writer = server.client(await server.createKey({ permissions: ['keys:write', 'keys:read'] }));
  const more = await writer.refusal('POST', '/v1/api-keys', { body: { preset: 'consumer' } });
  assert.deepEqual([more.status, more.code], [403, 'permission_denied']);
  const listed = await writer.send('GET', '/v1/api-keys?limit=50');
  assert.ok(listed.text.includes(made.public_key) && !listed.text.includes('sk_'), 'secrets are shown once');
});

test('keys are listed newest first, or oldest first when asked', async () => {
  const uuids = async (sort: string) =>
    (await admin.ask<{ data: MadeKey[] }>('GET', `/v1/api-keys?limit=50&sort=${sort}`)).data.map(
      (key) => key.uuid,
    );
  const newestFirst = await uuids('-created_at');
  assert.deepEqual(newestFirst, [...newestFirst].sort().reverse(), 'ids rise with time');
  assert.deepEqual(await uuids('created_at'), newestFirst.toReversed());
});

test('every wrong field of a new key is told', async () => {
  const wrong = { preset: 'node', expires_at: '2020-01-01T00:00:00Z', allowed_ips: ['::1', 'office'] };
  const issues = await admin.issues('POST', '/v1/api-keys', { body: wrong });
  assert.deepEqual([...issues.keys()].sort(), ['allowed_ips[1]', 'expires_at', 'preset']);
  for (const text of ['soon', 'Tue Mar 01 2050', '2050', '2050-02-30T00:00:00Z']) {
    assert.deepEqual(
      [...(await admin.issues('POST', '/v1/api-keys', { body: { expires_at: text } })).keys()],
      ['expires_at'],
    );
  }
});

test('who keeps failing waits, and nobody else does', async () => {
  const headers = { 'X-Forwarded-For': '203.0.113.200', 'X-Signature': '0'.repeat(64) };
  for (let count = 0; count < 100; count += 1) {
    assert.equal((await admin.send('GET', '/v1/jobs', { headers })).status, 401);
  }
  const refusal = await admin.refusal('GET', '/v1/jobs', { headers });
  assert.deepEqual([refusal.status, refusal.code], [429, 'rate_limited']);
  const seconds = Number(refusal.headers['retry-after']);
  assert.ok(Number.isInteger(seconds) && seconds >= 1 && seconds <= 60, `${seconds} s`);
  const neighbour = { 'X-Forwarded-For': '203.0.113.201' };
  assert.equal((await admin.send('GET', '/v1/jobs', { headers: neighbour })).status, 200);
});

test('bodies: other content types are refused after the signature, empty ones are empty', async () => {
  const path = await stopPath();
  const types = ['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data; boundary=x'];
  for (const type of types) {
    const headers = { 'Content-Type': type };
    const refusal = await admin.refusal('PUT', path, { raw: '{}', headers });
    assert.deepEqual([refusal.status, refusal.code], [415, 'unsupported_media_type'], type);
  }
  for (const type of ['application/json; charset=utf-8', 'application/vnd.api+json']) {
    const answer = await admin.send('PUT', path, { raw: '{}', headers: { 'Content-Type': type } });
    assert.equal(answer.status, 200, type);
  }
  const empty = { raw: '', headers: { 'Content-Type': 'application/json' } };
  assert.equal((await admin.send('PUT', path, empty)).status, 200);
});

test('a body larger than a mebibyte is 413', async () => {
  const raw = JSON.stringify(aJob({ description: 'x'.repeat(1_100_000) }));
  const refusal = await admin.refusal('POST', '/v1/jobs', { raw });
  assert.deepEqual([refusal.status, refusal.code], [413, 'payload_too_large']);
});

test('every answer carries its request id, in the header and in the envelope', async () => {
  const { headers } = await admin.send('GET', '/v1/jobs');
  assert.match(String(headers['x-request-id']), /^[0-9a-f]{8}-[0-9a-f]{4}-7/);
  const refusal = await admin.refusal('GET', '/v1/nothing');
  assert.equal(refusal.status, 404);
  assert.equal(refusal.headers['x-request-id'], refusal.request_id);
  assert.ok(
    Math.abs(Number.parseInt(refusal.request_id.replace('-', '').slice(0, 12), 16) - Date.now()) < 60_000,
  );
});

test('what is no HTTP is answered with the envelope too', async () => {
  const { hostname, port } = new URL(server.url);
  const answer = await new Promise<string>((resolve, reject) => {
    const lost = request({ hostname, port, path: '/', method: 'GET' });
    lost.on('socket', (socket) => {
      socket.on('connect', () => socket.write('NONSENSE\r\n\r\n'));
      socket.on('data', (data) => resolve(String(data)));
    });
    lost.on('error', reject);
  });
  assert.match(answer, /^HTTP\/1\.1 400/);
  assert.match(answer, /"code":"validation_failed"/);
});
