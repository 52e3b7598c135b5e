// Tests of the client against a real HTTP server on loopback that checks every signature and answers as scripted.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash, createHmac } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type ClientOptions, createClient } from './client.ts';
import { ApiError, ConnectionError } from './errors.ts';

type Reply = {
  status?: number;
  headers?: Record<string, string>;
  body?: unknown;
  text?: string;
  cut?: true;
  never?: true;
};
type Seen = { method: string; target: string; headers: http.IncomingHttpHeaders; body: string };

const uuid = '019582a6-27fc-731d-8d25-736052a00000';
const key = { publicKey: 'pk_test', secretKey: 'sk_test' };

/** Answers each request with the next reply; the last one again and again. */
function scripted(replies: Reply[], seen: Seen[]): http.RequestListener {
  return async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    const { method = '', url: target = '', headers } = request;
    seen.push({ method, target, headers, body });
    const reply = replies[Math.min(seen.length, replies.length) - 1] ?? {};
    if (reply.never) return;
    if (reply.cut) return void request.socket.destroy();
    response.writeHead(isSigned(request, body) ? (reply.status ?? 200) : 499, reply.headers);
    response.end(reply.text ?? JSON.stringify(reply.body ?? {}));
  };
}

function isSigned(request: http.IncomingMessage, body: string): boolean {
  const {
    'x-api-key': publicKey,
    'x-time': timeMs,
    'x-nonce': nonce,
    'x-signature': signature,
  } = request.headers;
  const [pathname, query = ''] = (request.url ?? '').split('?');
  const sorted = query.split('&').sort().join('&');
  const bodyHash = createHash('sha256').update(body).digest('hex');
  const canonical = [publicKey, timeMs, nonce, request.method, pathname, sorted, bodyHash].join('|');
  return createHmac('sha256', key.secretKey).update(canonical).digest('hex') === signature;
}

async function aServer(t: TestContext, replies: Reply[], options: Partial<ClientOptions> = {}) {
  const seen: Seen[] = [];
  const server = http.createServer(scripted(replies, seen));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const sleptMs: number[] = [];
  const edge = { random: () => 1, sleep: async (ms: number) => void sleptMs.push(ms) };
  const client = createClient({ url, ...key, edge, ...options });
  t.after(() => {
    client.close();
    server.closeAllConnections();
    server.close();
  });
  return { client, seen, sleptMs, url };
}

test('every endpoint is called by method, path, query and canonical body', async (t) => {
  const { client, seen } = await aServer(t, [{}]);
  await client.jobs.list({ limit: 5, filter: { status: ['PENDING', 'RUNNING'] } });
  await client.jobs.get(uuid);
  await client.jobs.cancel(uuid, { reason: 'café', wait_ms: 10 });
  await client.jobs.cancel(uuid);
  await client.jobs.cancelAll({ filter: { status: ['PENDING'], title_prefix: 'a' }, dry_run: true });
  await client.runs.list({ filter: { job_uuid: uuid } });
  await client.runs.get(uuid);
  await client.runs.logs(uuid, { offset: 3, limit: 9 });
  await client.nodes.list();
  await client.nodes.get(uuid);
  await client.nodes.create({ name: 'n1' });
  await client.keys.create({ name: 'k' });
  await client.keys.list();
  await client.keys.revoke(uuid);
  await client.request('GET', '/v1/jobs?limit=1', { query: { x: "a b~*!'()" } });
  assert.deepEqual(
    seen.map(({ method, target, body }) => `${method} ${target} ${body}`.trim()),
    [
      'GET /v1/jobs?limit=5&filter%5Bstatus%5D=PENDING%2CRUNNING',
      `GET /v1/jobs/${uuid}`,
      `PUT /v1/jobs/${uuid}/cancel {"reason":"caf\\u00e9","wait_ms":10}`,
      `PUT /v1/jobs/${uuid}/cancel`,
      'POST /v1/jobs/cancel {"dry_run":true,"filter":{"status":["PENDING"],"title_prefix":"a"}}',
      `GET /v1/job-runs?filter%5Bjob_uuid%5D=${uuid}`,
      `GET /v1/job-runs/${uuid}`,
      `GET /v1/job-runs/${uuid}/logs?offset=3&limit=9`,
      'GET /v1/nodes',
      `GET /v1/nodes/${uuid}`,
      'POST /v1/nodes {"name":"n1"}',
      'POST /v1/api-keys {"name":"k"}',
      'GET /v1/api-keys',
      `DELETE /v1/api-keys/${uuid}`,
      'GET /v1/jobs?limit=1&x=a%20b~%2A%21%27%28%29',
    ],
  );
});

const batch = { parameters: { type: 'docker', parameters: { image: 'busybox' } } } as const;

test('a job is created once however often it is tried: same idempotency key, fresh nonce', async (t) => {
  const created = { status: 201, body: { uuid } };
  const { client, seen, sleptMs } = await aServer(t, [
    { cut: true },
    { status: 503 },
    { status: 429 },
    created,
  ]);
  assert.equal((await client.jobs.create(batch)).uuid, uuid);
  assert.equal(seen.length, 4);
  assert.deepEqual(sleptMs, [200, 400, 800]);
  assert.equal(new Set(seen.map(({ headers }) => headers['idempotency-key'])).size, 1);
  assert.equal(new Set(seen.map(({ headers }) => headers['x-nonce'])).size, 4);
  await client.jobs.create(batch, { idempotencyKey: 'mine' });
  assert.equal(seen.at(-1)?.headers['idempotency-key'], 'mine');
});

test('a POST without an idempotency key is never repeated, unless it stops', async (t) => {
  const { client, seen } = await aServer(t, [{ status: 503 }]);
  await assert.rejects(client.nodes.create({ name: 'n1' }), ApiError);
  assert.equal(seen.length, 1);
  await assert.rejects(client.jobs.cancelAll({ all: true }), ApiError);
  assert.equal(new Set(seen.map(({ headers }) => headers['x-nonce'])).size, 5);
});

test('gives up after four tries and honours Retry-After', async (t) => {
  const { client, seen, sleptMs } = await aServer(t, [{ status: 503, headers: { 'Retry-After': '2' } }]);
  await assert.rejects(client.jobs.get(uuid), ApiError);
  assert.equal(seen.length, 4);
  assert.deepEqual(sleptMs, [2000, 2000, 2000]);
});

test("a refusal carries the server's sentence, code, details and request id", async (t) => {
  const error = { code: 'not_found', message: 'No such job.', details: { a: 1 }, request_id: 'q1' };
  const { client, seen } = await aServer(t, [{ status: 404, body: { error } }]);
  await assert.rejects(client.jobs.get(uuid), (thrown) => {
    assert.ok(thrown instanceof ApiError);
    const { status, code, message, details, requestId } = thrown;
    assert.deepEqual(
      { status, code, message, details, requestId },
      {
        status: 404,
        code: 'not_found',
        message: 'No such job.',
        details: { a: 1 },
        requestId: 'q1',
      },
    );
    return true;
  });
  assert.equal(seen.length, 1);
});

test('an answer that is not of this API is named as what it is', async (t) => {
  const { client } = await aServer(t, [
    { status: 502, text: '<html>' },
    { status: 200, text: '<html>' },
  ]);
  await assert.rejects(client.jobs.get(uuid), {
    code: 'http_502',
    message: 'The server answered 502: <html>',
  });
  await assert.rejects(client.jobs.get(uuid), { code: 'http_200' });
});

test('an empty answer is undefined', async (t) => {
  const { client } = await aServer(t, [{ status: 204, text: '' }]);
  assert.equal(await client.request('DELETE', '/v1/x'), undefined);
});

test('a server that is not there is one sentence that says what to do', async () => {
  const url = 'http://127.0.0.1:1';
  const client = createClient({ url, ...key, edge: { sleep: async () => {} } });
  await assert.rejects(client.jobs.get(uuid), {
    name: 'ConnectionError',
    message: `Cannot reach Flotilla at ${url}: connection refused. Is the server running? Start it with \`npm start\`.`,
  });
});

test('a server that does not answer is given up in time', async (t) => {
  const { client, seen } = await aServer(t, [{ never: true }], { timeoutMs: 20 });
  await assert.rejects(client.nodes.create({ name: 'n1' }), (error) => {
    return error instanceof ConnectionError && error.message.includes('no answer in time');
  });
  assert.equal(seen.length, 1);
});

test("the caller's own abort is passed on and not retried", async (t) => {
  const { client, seen } = await aServer(t, [{ never: true }]);
  const reason = new Error('enough');
  const stop = new AbortController();
  const waiting = client.request('GET', '/v1/jobs', { signal: stop.signal });
  setTimeout(() => stop.abort(reason), 20);
  await assert.rejects(waiting, reason);
  assert.ok(seen.length <= 1);
});

test('a path that is not a uuid never reaches another endpoint', () => {
  const client = createClient({ url: 'http://127.0.0.1:1', ...key });
  for (const wrong of ['', '..', 'a/b', '?x']) {
    assert.throws(() => client.jobs.get(wrong), /Cannot look up/);
  }
});

test('a server below a path and an own certificate authority are reached', async (t) => {
  const pem = ownCertificate(t);
  if (pem === undefined) return t.skip('openssl is not installed, so no certificate can be made');
  const seen: Seen[] = [];
  const server = https.createServer(pem, scripted([{ body: { uuid } }], seen));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}/flotilla/`;
  await assert.rejects(createClient({ url, ...key }).jobs.get(uuid), { isTransient: false });
  const client = createClient({ url, ...key, ca: pem.cert });
  assert.equal((await client.jobs.get(uuid)).uuid, uuid);
  assert.equal(seen[0]?.target, `/flotilla/v1/jobs/${uuid}`);
  client.close();
});

function ownCertificate(t: TestContext): { key: string; cert: string } | undefined {
  const folder = mkdtempSync(join(tmpdir(), 'flotilla-sdk-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const [keyFile, certFile] = [join(folder, 'key.pem'), join(folder, 'cert.pem')];
  const subject = ['-subj', '/CN=flotilla', '-addext', 'subjectAltName=IP:127.0.0.1'];
  const out = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-keyout', keyFile, '-out', certFile];
  try {
    execFileSync('openssl', ['req', '-x509', '-nodes', '-days', '1', ...out, ...subject], {
      stdio: 'ignore',
    });
  } catch {
    return undefined;
  }
  return { key: readFileSync(keyFile, 'utf8'), cert: readFileSync(certFile, 'utf8') };
}
