// The gateway of two servers on one database before real containers: bytes, who may connect, stop, restart, direct ingress.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { after, before, test } from 'node:test';
import type { CreateJobBody, NodeUrl } from '../../src/protocol/job.ts';
import type { Client } from '../../src/sdk/client.ts';
import { echoImage, importReferenceImages } from '../support/images/reference-images.ts';
import { startTestPostgres, type TestPostgres } from '../support/postgres.ts';
import type { Command } from './support/command.ts';
import { needsDocker } from './support/docker.ts';
import { eventually } from './support/eventually.ts';
import { createPlace, onlyRunOf, type Place, untilStatus } from './support/place.ts';
import { aService, readyUrlOf } from './support/reference-jobs.ts';
import { tryTcp } from './support/tcp.ts';

/** Addresses of this machine that are no loopback: there allowed_ips holds for everyone. */
const hosts = { first: '10.77.0.1', second: '10.77.0.2', node: '10.77.0.3', stranger: '10.77.0.4' };
const range = ['--gateway-ports', '20000-20009'];
const first = ['--gateway-listen', hosts.first, ...range];
const second = ['--gateway-listen', hosts.second, ...range, '--host', '127.0.0.2', '--port', '0'];
const ports = [8000, 9000];

let postgres: TestPostgres;
let place: Place;
let other: Place;
let client: Client;
let env: Record<string, string>;
let running: Command;

before(async () => {
  if (needsDocker.skip) return;
  for (const host of Object.values(hosts))
    execFileSync('ip', ['address', 'replace', `${host}/24`, 'dev', 'lo'], { timeout: 5_000 });
  importReferenceImages();
  postgres = await startTestPostgres();
  env = {
    DATABASE_URL: await postgres.createDatabase(),
    FLOTILLA_MASTER_KEY: randomBytes(32).toString('hex'),
  };
  place = createPlace();
  running = await place.up(first, env);
  client = place.client();
  other = createPlace();
  const replica = other.start(['server', '--data-dir', other.dataDirectory, ...second], env);
  await replica.until(/The server listens/);
});
after(async () => {
  await other?.remove();
  await place?.remove();
  await postgres?.stop();
});

async function restart(args: readonly string[]): Promise<void> {
  running.signal('SIGINT');
  await running.ended;
  running = await place.up(args, env);
  client = place.client();
}

async function startService(
  container: Partial<CreateJobBody['parameters']['parameters']> = {},
): Promise<string> {
  const { uuid } = await client.jobs.create(aService({ ...echoImage, ports, ...container }));
  await untilStatus(client, uuid, 'RUNNING');
  return uuid;
}

async function open(host: string, port: number, from = hosts.first): Promise<Socket> {
  const socket = connect({ host, port, localAddress: from, allowHalfOpen: true });
  socket.on('error', () => {});
  await once(socket, 'connect');
  return socket;
}

/** Ended or broken: a refused client may see either. */
function over(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    for (const word of ['end', 'close']) socket.once(word, () => resolve());
  });
}

async function say(socket: Socket, words: string): Promise<string> {
  let answer = '';
  socket.on('data', (chunk) => {
    answer += chunk;
  });
  socket.end(words);
  await over(socket);
  socket.destroy();
  return answer;
}

function untilEcho(host: string, { port }: NodeUrl): Promise<unknown> {
  return eventually(`${host}:${port} to echo`, async () => {
    const answer = await open(host, port).then(
      (socket) => say(socket, 'ping'),
      () => '',
    );
    return answer === 'ping';
  });
}

function untilRefused(hostname: string, { port }: NodeUrl): Promise<unknown> {
  return eventually(`${hostname}:${port} to refuse`, async () => {
    return (await tryTcp({ hostname, port })) === 'refused';
  });
}

function untilCounted(jobUuid: string, count: number): Promise<unknown> {
  return eventually(`${count} refused connections on the run`, async () => {
    return (await onlyRunOf(client, jobUuid)).refused_connection_count === count;
  });
}

test('node_urls name every port while the run is RUNNING, and only then', needsDocker, async () => {
  const { uuid } = await client.jobs.create(aService({ ...echoImage, ports }));
  await eventually('the run to be RUNNING', async () => {
    const { data } = await client.runs.list({ filter: { job_uuid: uuid } });
    for (const run of data) if (run.status !== 'RUNNING') assert.deepEqual(run.node_urls, [], run.status);
    return data[0]?.status === 'RUNNING';
  });
  const { node_urls: urls } = await onlyRunOf(client, uuid);
  assert.deepEqual(
    urls.map((url) => [url.description, url.hostname, url.protocol, url.tls]),
    ports.map((port) => [String(port), hosts.first, 'tcp', false]),
  );
  assert.equal(new Set(urls.map((url) => url.port)).size, ports.length);
  for (const url of urls) assert.ok(url.port >= 20_000 && url.port <= 20_009);
  assert.equal((await client.jobs.get(uuid)).node_urls.length, ports.length);
  const web = await readyUrlOf(client, uuid, '8000');
  assert.equal((await fetch(`http://${web.hostname}:${web.port}/stream`)).status, 200);
  const stopped = await client.jobs.cancel(uuid, { stop_grace_ms: 0, wait_ms: 20_000 });
  assert.deepEqual(stopped.node_urls, []);
  assert.deepEqual((await onlyRunOf(client, uuid)).node_urls, []);
});

test('a large transfer comes back whole, and its end after the half-close', needsDocker, async () => {
  const uuid = await startService();
  const { port } = await readyUrlOf(client, uuid, '9000');
  const socket = await open(hosts.first, port);
  const received = createHash('sha256');
  socket.on('data', (chunk) => void received.update(chunk));
  const end = over(socket);
  const sent = createHash('sha256');
  const block = randomBytes(1024 * 1024);
  const stopAt = performance.now() + 15_000;
  let blockCount = 0;
  for (; blockCount < 1024 && performance.now() < stopAt; blockCount += 1) {
    sent.update(block);
    if (!socket.write(block)) await once(socket, 'drain');
  }
  socket.end();
  await end;
  assert.equal(received.digest('hex'), sent.digest('hex'), `after ${blockCount} MiB`);
  assert.ok(blockCount >= 32, `only ${blockCount} MiB in 15 s`);
  await client.jobs.cancel(uuid, { stop_grace_ms: 0 });
});

test('every server serves every port, and a stop ends it on both within a second', needsDocker, async () => {
  // The program ignores TERM: its connections must not wait for its end.
  const uuid = await startService({ stop_grace_ms: 10_000 });
  const url = await readyUrlOf(client, uuid, '9000');
  const both = [hosts.first, hosts.second];
  for (const host of both) await untilEcho(host, url);
  const sockets = await Promise.all(both.map((host) => open(host, url.port)));
  for (const socket of sockets) {
    socket.write('here');
    await once(socket, 'data');
  }
  const ends = Promise.all(sockets.map((socket) => over(socket).then(() => performance.now())));
  await client.jobs.cancel(uuid);
  const stoppedAt = performance.now();
  const lateMs = Math.max(...(await ends)) - stoppedAt;
  assert.ok(lateMs < 1_000, `open connections ended ${lateMs} ms after the stop was answered`);
  for (const host of both) await untilRefused(host, url);
  for (const socket of sockets) socket.destroy();
});

test('allowed_ips lets in whom it names; others are closed unheard and counted', needsDocker, async () => {
  const uuid = await startService({ allowed_ips: [`${hosts.first}/32`] });
  const url = await readyUrlOf(client, uuid, '9000');
  assert.equal(await say(await open(hosts.first, url.port), 'a friend'), 'a friend');
  for (let tries = 0; tries < 3; tries += 1)
    assert.equal(await say(await open(hosts.first, url.port, hosts.stranger), 'let me in'), '');
  await untilCounted(uuid, 3);
  await client.jobs.cancel(uuid, { stop_grace_ms: 0 });
});

test('a restart of the server keeps port numbers, and they work again', needsDocker, async () => {
  const uuid = await startService();
  const url = await readyUrlOf(client, uuid, '9000');
  const numbers = async () =>
    (await onlyRunOf(client, uuid)).node_urls.map((it) => [it.description, it.port]);
  const before = await numbers();
  await restart(first);
  await untilEcho(hosts.first, url);
  assert.deepEqual(await numbers(), before);
  await client.jobs.cancel(uuid, { stop_grace_ms: 0, wait_ms: 20_000 });
});

test('with direct ingress the node itself listens, under the same rules', needsDocker, async () => {
  await restart([...first, '--ingress', 'direct', '--public-host', hosts.node]);
  const uuid = await startService({ allowed_ips: [hosts.first], stop_grace_ms: 10_000 });
  const url = await readyUrlOf(client, uuid, '9000');
  assert.equal(url.hostname, hosts.node);
  await untilEcho(hosts.node, url);
  assert.equal(await say(await open(hosts.node, url.port, hosts.stranger), 'let me in'), '');
  await untilCounted(uuid, 1);
  const socket = await open(hosts.node, url.port);
  socket.write('here');
  await once(socket, 'data');
  const end = over(socket).then(() => performance.now());
  await client.jobs.cancel(uuid);
  const stoppedAt = performance.now();
  const lateMs = (await end) - stoppedAt;
  assert.ok(lateMs < 1_000, `the open connection ended ${lateMs} ms after the stop was answered`);
  await untilRefused(hosts.node, url);
});
