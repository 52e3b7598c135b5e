// One stream on a real socket: a client that reads nothing is sent away, and what waits for it is bounded.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { test } from 'node:test';
import { EventStream } from './event-stream.ts';

test('a client that reads nothing is sent away after its time', async () => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1').pause();
  socket.on('error', () => {});
  socket.write('GET / HTTP/1.1\r\nHost: h\r\n\r\n');
  const [, response] = (await once(server, 'request')) as [unknown, ServerResponse];
  const stream = new EventStream(response, { headers: {}, isStillAllowed: () => true, drainMs: 100 });
  let sent = 0;
  // The kernel takes some megabytes first.
  for (; !stream.isFull; sent += 1) {
    assert.ok(sent < 10_000, 'it fills');
    stream.send({ id: String(sent), json: JSON.stringify('x'.repeat(10_000)) });
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.equal(stream.closed.aborted, false);
  await stream.drained();
  assert.equal(stream.closed.aborted, true);
  const before = response.writableLength;
  stream.send({ json: '"after its end"' });
  assert.equal(response.writableLength, before);
  socket.destroy();
  server.close();
});
