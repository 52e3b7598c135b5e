// What people send through a published port of a real container: HTTP that streams, WebSocket, bytes in bulk.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect } from 'node:net';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { after, before, test } from 'node:test';
import { WebSocket } from 'ws';
import type { NodeUrl } from '../../src/protocol/job.ts';
import type { Client } from '../../src/sdk/client.ts';
import { echoImage, importReferenceImages } from '../support/images/reference-images.ts';
import { needsDocker } from './support/docker.ts';
import { eventually } from './support/eventually.ts';
import { createPlace, type Place, untilStatus } from './support/place.ts';
import { aService, readyUrlOf } from './support/reference-jobs.ts';
import { tryTcp } from './support/tcp.ts';

let place: Place;
let client: Client;
let jobUuid: string;
let web: NodeUrl;
let echo: NodeUrl;

before(async () => {
  if (needsDocker.skip) return;
  importReferenceImages();
  place = createPlace();
  await place.up();
  client = place.client();
  ({ uuid: jobUuid } = await client.jobs.create(aService({ ...echoImage, ports: [9000, 8000] })));
  await untilStatus(client, jobUuid, 'RUNNING');
  web = await readyUrlOf(client, jobUuid, '8000');
  echo = await readyUrlOf(client, jobUuid, '9000');
});
after(() => place?.remove());

test('an HTTP answer arrives as it is written, not when it is complete', needsDocker, async () => {
  const response = await fetch(`http://${web.hostname}:${web.port}/stream`);
  assert.ok(response.body);
  const arrived: string[] = [];
  for await (const piece of response.body) arrived.push(Buffer.from(piece).toString());
  assert.deepEqual(
    arrived.join('').split('\n').slice(0, -1),
    Array.from({ length: 20 }, (_, at) => `${at}`),
  );
  // Written over two seconds; a few neighbours may come together on a busy machine.
  assert.ok(arrived.length >= 5, `${arrived.length} pieces`);
});

test('WebSocket messages of every size pass both ways', needsDocker, async () => {
  const socket = new WebSocket(`ws://${web.hostname}:${web.port}/`);
  await once(socket, 'open');
  for (const size of [0, 1, 125, 126, 60_000]) {
    const sent = randomBytes(size);
    socket.send(sent);
    const [received] = await once(socket, 'message');
    assert.ok(sent.equals(received), `${size} bytes came back as they were`);
  }
  socket.close(1000, 'enough');
  const [code] = await once(socket, 'close');
  assert.equal(code, 1000, 'the close frame came back too');
});

test('bulk comes back whole after the sender has closed its half', needsDocker, async () => {
  const block = randomBytes(1024 * 1024);
  const count = 100;
  const sent = createHash('sha256');
  function* blocks() {
    for (let at = 0; at < count; at += 1) {
      sent.update(block);
      yield block;
    }
  }
  const socket = connect({ port: echo.port, host: echo.hostname, allowHalfOpen: true });
  const received = createHash('sha256');
  let receivedBytes = 0;
  const reading = (async () => {
    for await (const piece of socket) {
      received.update(piece);
      receivedBytes += piece.length;
    }
  })();
  await Promise.all([reading, pipeline(Readable.from(blocks()), socket, { end: true })]);
  assert.equal(receivedBytes, count * block.length);
  assert.equal(received.digest('hex'), sent.digest('hex'));
});

test('Stop ends what is open and gives the ports back', needsDocker, async () => {
  const socket = connect(echo.port, echo.hostname);
  socket.write('still here');
  await once(socket, 'data');
  socket.on('error', () => {});
  const closed = once(socket, 'close');
  const stopped = await client.jobs.cancel(jobUuid);
  assert.deepEqual(stopped.node_urls, []);
  await closed;
  for (const url of [web, echo])
    await eventually(`port ${url.port} to refuse`, async () => (await tryTcp(url)) === 'refused');
});
