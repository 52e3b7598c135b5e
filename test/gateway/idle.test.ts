// Connections that say nothing: kept for an hour and more by every timer on their way, and given up when an agent is gone.
//
// Every test here is under the hand-driven clock: a real timer that is cleared under it would go on.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { mock, test } from 'node:test';
import { DataConnections } from '../../src/gateway/data-connections.ts';
import { agentDataPath, dataProtocol } from '../../src/protocol/agent-messages.ts';
import { frameHeader } from '../../src/protocol/data-frames.ts';
import { until, withConnection } from './support/connection.ts';
import { startDirectRig } from './support/direct-rig.ts';
import { startRig } from './support/rig.ts';

const { setTimeout: realTimeout } = globalThis;
const turn = () => new Promise((resolve) => setImmediate(resolve));

/** From here on timers and the monotonic clock stand still but for `pass`, between whose steps sockets get their turn. */
async function withHandClock(body: (pass: (ms: number) => Promise<void>) => Promise<void>): Promise<void> {
  const realNow = performance.now.bind(performance);
  const startMs = realNow();
  let passedMs = 0;
  mock.timers.enable({ apis: ['setTimeout', 'setInterval'] });
  performance.now = () => startMs + passedMs;
  const stepMs = 5_000;
  try {
    await body(async (ms) => {
      for (let leftMs = ms; leftMs > 0; leftMs -= stepMs) {
        passedMs += stepMs;
        mock.timers.tick(stepMs);
        for (let turns = 0; turns < 20; turns += 1) await turn();
      }
    });
  } finally {
    performance.now = realNow;
    mock.timers.reset();
  }
}

/** The next bytes; none when the connection is over. */
async function nextWords(socket: Socket): Promise<string> {
  let words = '';
  socket.on('data', (chunk) => {
    words += chunk;
  });
  await until(() => words !== '' || socket.destroyed);
  socket.removeAllListeners('data');
  return words;
}

/** As small as they go: none of them may reach a connection that was upgraded. */
const hasty = {
  requestTimeout: 50,
  headersTimeout: 40,
  keepAliveTimeout: 40,
  connectionsCheckingInterval: 10,
};
const doors = { gateway: () => startRig({ httpOptions: hasty }), direct: () => startDirectRig() };
const hourMs = 61 * 60_000;

for (const [name, startDoor] of Object.entries(doors)) {
  test(`${name}: a connection without a byte is there after an hour, half-closed after another`, async () => {
    await withHandClock(async (pass) => {
      await withConnection(startDoor, async ({ client, served }) => {
        await new Promise((resolve) => realTimeout(resolve, 200));
        await pass(hourMs);
        client.write('an hour later');
        assert.equal(await nextWords(served), 'an hour later');
        served.write('still here');
        assert.equal(await nextWords(client), 'still here');
        client.end();
        await until(() => served.readableEnded || served.destroyed);
        await pass(hourMs);
        served.end('the answer');
        assert.equal(await nextWords(client), 'the answer');
      });
    });
  });
}

test('an agent that falls silent on its data connection is given up within two minutes', async () => {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const agents: Socket[] = [];
  await withHandClock(async (pass) => {
    const connections = new DataConnections({
      askToDial: ({ ticket }) => void agents.push(dialByHand(port, ticket)),
      authenticate: () => Promise.resolve({ nodeId: 'n' }),
      newTicket: () => crypto.randomUUID(),
    });
    server.on('upgrade', (request, socket, head) => void connections.takeUpgrade(request, socket, head));
    try {
      const stream = await connections.openStream('n', { kind: 'port', runUuid: 'r', port: 1 });
      const heard: string[] = [];
      stream.on('error', ({ message }) => heard.push(message)).resume();
      await pass(55_000);
      assert.deepEqual(heard, []);
      await pass(65_000);
      assert.deepEqual(heard, ['The data connection broke.']);
    } finally {
      for (const agent of agents) agent.destroy();
      connections.close();
      server.close();
    }
  });
});

/** Accepts one stream and never says another word. */
function dialByHand(port: number, ticket: string): Socket {
  const socket = connect({ port, host: '127.0.0.1' });
  let received = Buffer.alloc(0);
  let hasAccepted = false;
  socket.on('error', () => {});
  socket.on('data', (chunk: Buffer) => {
    received = Buffer.concat([received, chunk]);
    const bodyAt = received.indexOf('\r\n\r\n') + 4;
    if (hasAccepted || bodyAt < 4 || received.length === bodyAt) return;
    hasAccepted = true;
    socket.write(frameHeader('accept', 0));
  });
  const path = `${agentDataPath}?ticket=${ticket}`;
  const headers = `Host: x\r\nConnection: Upgrade\r\nUpgrade: ${dataProtocol}\r\n`;
  socket.write(`GET ${path} HTTP/1.1\r\n${headers}\r\n`);
  return socket;
}
