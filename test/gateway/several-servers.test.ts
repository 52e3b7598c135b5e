// Data connections of an agent that knows several servers: to the one that asked, whatever it said of its own address.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, test } from 'node:test';
import { Tunnel } from '../../src/agent/tunnel.ts';
import { DataConnections } from '../../src/gateway/data-connections.ts';
import type { DataStream } from '../../src/ingress/data-stream.ts';

const nodeId = '019582a6-27fc-731d-8000-00000000000a';
const closers: (() => void)[] = [];
afterEach(() => {
  for (const close of closers.splice(0)) close();
});

interface Replica {
  url: string;
  connections: DataConnections;
  /** Upgrades that reached it. */
  dialCount: () => number;
}

/** `says`: what it tells agents of its own address, empty when it does not know one. */
async function aReplica(tunnel: () => Tunnel, says: (own: string) => string): Promise<Replica> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  let dialCount = 0;
  const connections = new DataConnections({
    askToDial: ({ ticket, count }) => void tunnel().dial({ url: says(url), ticket, count }),
    authenticate: async () => ({ nodeId }),
    newTicket: () => crypto.randomUUID(),
  });
  server.on('upgrade', (request, socket, head) => {
    dialCount += 1;
    void connections.takeUpgrade(request, socket, head);
  });
  closers.push(() => {
    connections.close();
    server.closeAllConnections();
    server.close();
  });
  return { url, connections, dialCount: () => dialCount };
}

function aTunnel(urls: string[]): Tunnel {
  const tunnel = new Tunnel({
    servers: { all: urls },
    signHeaders: () => ({}),
    onServerTime: () => {},
    log: { debug() {}, info() {}, warn() {}, error() {} },
    handlers: { port: (stream) => stream.accept() },
  });
  closers.push(() => tunnel.close());
  return tunnel;
}

function open({ connections }: Replica): Promise<DataStream> {
  return connections.openStream(nodeId, { kind: 'port', runUuid: crypto.randomUUID(), port: 80 });
}

/** A port that nobody listens on. */
const nowhere = 'http://127.0.0.1:1';

for (const [what, says] of [
  ['says nothing of its address', () => ''],
  ['is known to the agent by another address', () => nowhere],
] as const) {
  test(`a server that ${what} is found among those that the agent knows`, async () => {
    let tunnel: Tunnel | undefined;
    const dial = () => tunnel ?? assert.fail('the tunnel is there');
    const control = await aReplica(dial, says);
    const asking = await aReplica(dial, says);
    tunnel = aTunnel([nowhere, control.url, asking.url]);
    assert.ok(await open(asking));
    assert.ok(control.dialCount() > 0, 'the one that did not ask refused');
  });
}

test('a server that was reached and refuses is not looked for elsewhere', async () => {
  let tunnel: Tunnel | undefined;
  const other = await aReplica(
    () => tunnel ?? assert.fail(),
    () => '',
  );
  const asked = await aReplica(
    () => tunnel ?? assert.fail(),
    (own) => own,
  );
  tunnel = aTunnel([asked.url, other.url]);
  await tunnel.dial({ url: asked.url, ticket: 'unknown', count: 1 });
  assert.deepEqual([asked.dialCount(), other.dialCount()], [1, 0]);
});
