// Files: whose, which paths, signatures over what was spooled, and uploads that leave nothing behind.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { after, before, test } from 'node:test';
import { filesWritten } from '../../src/protocol/data-streams.ts';
import { maxUploadBytes } from '../../src/protocol/files.ts';
import { createClient } from '../../src/sdk/client.ts';
import { type ANode, aJob, aNode } from '../support/builders.ts';
import { exited, type PlacedRun, place, preparing, report, running } from '../support/runs.ts';
import { eventually, startTestServer } from '../support/server.ts';
import { fakeStreams, type Opened, refusedBy } from './support/fake-streams.ts';

const spoolFolder = mkdtempSync(join(tmpdir(), 'flotilla-files-'));
const usualFolder = process.env.TMPDIR;
process.env.TMPDIR = spoolFolder;
const streams = fakeStreams();
const server = await startTestServer({ hasScheduler: false, streams });
const { admin, database } = server;
const tar = { 'Content-Type': 'application/x-tar' };
let node: ANode;
let run: PlacedRun;

before(async () => {
  node = await aNode(server);
  run = await aRunningRun();
});

after(() => {
  if (usualFolder === undefined) delete process.env.TMPDIR;
  else process.env.TMPDIR = usualFolder;
  rmSync(spoolFolder, { recursive: true });
});

async function aRunningRun(): Promise<PlacedRun> {
  const job = await admin.createJob(aJob());
  const placed = await place(server, job.uuid, node.id);
  await report(server, placed, preparing);
  await report(server, placed, running);
  return placed;
}

const pathOf = (path: string, { id } = run) => `/v1/job-runs/${id}/files?path=${encodeURIComponent(path)}`;
const uploadsLeft = () => readdirSync(spoolFolder).filter((name) => name.startsWith('flotilla-upload-'));
const noUploadsLeft = () => eventually('no upload to be left', async () => uploadsLeft().length === 0);

/** What the next streams are told of; the agent takes all bytes and then says `answer`. */
function takeAll(answer: string): { bytes: () => Buffer; target: () => Opened['target'] | undefined } {
  const parts: Buffer[] = [];
  let target: Opened['target'] | undefined;
  streams.onOpen = (opened) => {
    target = opened.target;
    opened.agent.on('data', (part: Buffer) => parts.push(part));
    opened.agent.on('end', () => opened.agent.end(answer));
  };
  return { bytes: () => Buffer.concat(parts), target: () => target };
}

function eventsOf(kind: string) {
  return database.query<{ detail: unknown; actor: { key_uuid: string } }>(
    'select detail, actor from job_events where run_id = $1 and kind = $2 order by created_at',
    [run.id, kind],
  );
}

test('an upload reaches the agent byte for byte, is in the events, and leaves no file', async () => {
  const heard = takeAll(filesWritten);
  const raw = Buffer.from(Array.from({ length: 3_000_000 }, (_, index) => (index * 7) % 256));
  const answer = await admin.ask('PUT', pathOf('/tmp/a b'), { raw, headers: tar });
  assert.deepEqual(answer, { object: 'job_run_files', job_run_uuid: run.id, path: '/tmp/a b' });
  assert.ok(heard.bytes().equals(raw));
  assert.deepEqual(heard.target(), { kind: 'files', request: { operation: 'write', path: '/tmp/a b' } });
  const [event] = await eventsOf('files_written');
  assert.deepEqual([event?.detail, event?.actor.key_uuid], [{ path: '/tmp/a b' }, server.adminKey.id]);
  await noUploadsLeft();
});

test('a body other than the signed one is 401, reaches no container and leaves no file', async () => {
  const opened = streams.opened.length;
  const signed = admin.sign('PUT', pathOf('/tmp'), { raw: Buffer.alloc(2048, 1) });
  const refusal = await admin.refusal('PUT', pathOf('/tmp'), {
    raw: Buffer.alloc(2048, 2),
    headers: { ...tar, ...signed },
    isSigned: false,
  });
  assert.deepEqual([refusal.status, refusal.code], [401, 'signature_invalid']);
  assert.equal(streams.opened.length, opened);
  await noUploadsLeft();
});

test('a key that nobody has uploads nothing at all', async () => {
  const stranger = server.client({ publicKey: 'pk_nobody', secretKey: 'sk_nobody' });
  const refusal = await stranger.refusal('PUT', pathOf('/tmp'), { raw: Buffer.alloc(100), headers: tar });
  assert.equal(refusal.code, 'key_unknown');
  assert.deepEqual(uploadsLeft(), []);
});

test('an upload twice with one nonce is written once', async () => {
  takeAll(filesWritten);
  const nonce = 'f'.repeat(32);
  const upload = { raw: Buffer.alloc(1024), headers: tar, nonce };
  await admin.ask('PUT', pathOf('/tmp/once'), upload);
  assert.equal((await admin.refusal('PUT', pathOf('/tmp/once'), upload)).code, 'nonce_reused');
  const written = (await eventsOf('files_written')).filter(({ detail }) =>
    JSON.stringify(detail).includes('once'),
  );
  assert.equal(written.length, 1);
  await noUploadsLeft();
});

test('more than the limit is 413 before a byte of it is read', async () => {
  const status = await new Promise((resolve, reject) => {
    const path = pathOf('/tmp');
    const headers = { ...tar, ...admin.sign('PUT', path), 'Content-Length': String(maxUploadBytes + 1) };
    const { hostname, port } = new URL(server.url);
    const request = httpRequest({ hostname, port, method: 'PUT', path, headers }, (response) => {
      resolve(response.statusCode);
      request.destroy();
    });
    request.on('error', reject);
    request.flushHeaders();
  });
  assert.equal(status, 413);
  assert.deepEqual(uploadsLeft(), []);
});

test('a client that leaves in the middle, or before the answer, leaves no file; others still can upload', async () => {
  streams.onOpen = () => {};
  const leave = async (sentBytes: number, when: () => Promise<unknown>) => {
    const raw = Buffer.alloc(500_000);
    const path = pathOf('/tmp');
    const headers = { ...tar, ...admin.sign('PUT', path, { raw }), 'Content-Length': String(raw.length) };
    const { hostname, port } = new URL(server.url);
    const request = httpRequest({ hostname, port, method: 'PUT', path, headers, agent: false });
    request.on('error', () => {});
    request.write(raw.subarray(0, sentBytes));
    await when();
    request.destroy();
  };
  // More often than uploads may run at once: none of them is counted on.
  for (let round = 0; round < 5; round += 1) {
    await leave(100_000, () => eventually('the spool', async () => uploadsLeft().length > 0));
    await noUploadsLeft();
    const opened = streams.opened.length;
    await leave(500_000, () => eventually('the stream', async () => streams.opened.length > opened));
    await noUploadsLeft();
  }
  takeAll(filesWritten);
  await admin.ask('PUT', pathOf('/tmp'), { raw: Buffer.alloc(10), headers: tar });
});

test('a tar sent where none is wanted leaves no file either', async () => {
  for (const [method, path] of [
    ['POST', '/v1/jobs'],
    ['PUT', '/v1/nothing'],
    ['PUT', `/v1/job-runs/${run.id}/exec`],
  ] as const) {
    const answer = await admin.send(method, path, { raw: Buffer.alloc(2048), headers: tar });
    assert.ok(answer.status >= 400 && answer.status < 500, `${method} ${path}: ${answer.status}`);
  }
  await noUploadsLeft();
});

test("what goes wrong in the container is the agent's sentence; half a success is none", async () => {
  const upload = { raw: Buffer.alloc(1024), headers: tar };
  takeAll('There is no space left on the disk of the node.');
  const full = await admin.refusal('PUT', pathOf('/tmp'), upload);
  assert.deepEqual([full.status, full.message], [409, 'There is no space left on the disk of the node.']);
  takeAll('');
  assert.equal((await admin.refusal('PUT', pathOf('/tmp'), upload)).status, 503);
  streams.onOpen = ({ agent }) => setImmediate(() => agent.destroy());
  assert.equal((await admin.refusal('PUT', pathOf('/tmp'), upload)).status, 503);
  streams.refusal = refusedBy({
    status: 404,
    code: 'not_found',
    message: 'There is no "/x" in the container.',
  });
  const missing = await admin.refusal('PUT', pathOf('/x'), upload);
  assert.deepEqual([missing.status, missing.message], [404, 'There is no "/x" in the container.']);
  assert.equal((await admin.refusal('GET', pathOf('/x'))).status, 404);
  streams.refusal = new Error('The node did not dial.');
  const away = await admin.refusal('GET', pathOf('/x'));
  assert.deepEqual([away.status, away.headers['retry-after']], [503, '2']);
  streams.refusal = undefined;
  await noUploadsLeft();
});

test('a download comes byte for byte, and one that breaks off is no whole one', async () => {
  const { publicKey, secretKey } = admin.key;
  const client = createClient({ url: server.url, publicKey, secretKey });
  const bytes = Buffer.alloc(2_000_000, 'tar');
  streams.onOpen = ({ agent }) => agent.end(bytes);
  const whole = Buffer.concat(await (await client.runs.readFiles(run.id, '/data')).toArray());
  assert.ok(whole.equals(bytes));
  const [event] = await eventsOf('files_read');
  assert.deepEqual(event?.detail, { path: '/data' });
  streams.onOpen = ({ agent }) => {
    agent.write(bytes.subarray(0, 100_000));
    setTimeout(() => agent.destroy(new Error('the node is gone')), 50);
  };
  const broken = await client.runs.readFiles(run.id, '/data');
  await assert.rejects(broken.toArray());
  client.close();
});

test('who may, and which paths', async () => {
  const accountId = await server.createAccount('files elsewhere');
  const foreign = server.client(await server.createKey({ accountId }));
  assert.equal((await foreign.refusal('GET', pathOf('/tmp'))).status, 404);
  const upload = { raw: Buffer.alloc(1024), headers: tar };
  assert.equal((await foreign.refusal('PUT', pathOf('/tmp'), upload)).status, 404);
  const reader = server.client(await server.createKey({ permissions: ['jobs:read'] }));
  assert.equal((await reader.refusal('GET', pathOf('/tmp'))).status, 403);
  assert.equal((await reader.refusal('PUT', pathOf('/tmp'), upload)).status, 403);
  const base = `/v1/job-runs/${run.id}/files`;
  for (const query of [
    '',
    '?path=',
    '?path=tmp',
    '?path=/a&path=/b',
    '?path=/a%00b',
    `?path=/${'x'.repeat(5000)}`,
    '?file=/a',
  ]) {
    assert.ok((await admin.issues('GET', `${base}${query}`)).has('path'), query.slice(0, 30));
  }
  assert.equal((await admin.refusal('PUT', pathOf('/tmp'), { body: {} })).status, 415);
  const ended = await aRunningRun();
  await report(server, ended, exited(0));
  assert.equal((await admin.refusal('GET', pathOf('/tmp', ended))).status, 409);
  await noUploadsLeft();
});

test('the SDK sends what it hashed, from a stream or a file', async () => {
  const { publicKey, secretKey } = admin.key;
  const client = createClient({ url: server.url, publicKey, secretKey });
  const heard = takeAll(filesWritten);
  const parts = [Buffer.alloc(70_000, 1), Buffer.alloc(70_000, 2)];
  const told: number[] = [];
  const options = { onProgress: (sent: number, total: number) => told.push(sent, total) };
  const written = await client.runs.writeFiles(run.id, '/tmp/ü', Readable.from(parts), options);
  assert.equal(written.path, '/tmp/ü');
  const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');
  assert.equal(sha256(heard.bytes()), sha256(Buffer.concat(parts)));
  assert.deepEqual(told.slice(-2), [140_000, 140_000]);
  assert.deepEqual(
    readdirSync(spoolFolder).filter((name) => name.startsWith('flotilla-tar-')),
    [],
  );
  client.close();
});
