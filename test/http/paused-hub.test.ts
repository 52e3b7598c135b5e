// A replica that is stopped and wakes: what its agents had said to it is not heard any more, since they are elsewhere.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { pino } from 'pino';
import WebSocket from 'ws';
import { createHints } from '../../src/db/hints.ts';
import { connectNode } from '../../src/db/node-leases.ts';
import { Hub } from '../../src/hub/hub.ts';
import { newId } from '../../src/main/ids.ts';
import { openStorage } from '../../src/main/storage.ts';
import { systemTimers } from '../../src/main/system-timers.ts';
import { agentConnectPath, protocolVersion, silenceLimitMs } from '../../src/protocol/agent-messages.ts';
import { aNode, anInventory } from '../support/builders.ts';
import { eventually, sharedPostgres } from '../support/server.ts';

const heartbeatMs = 1_000;

const folder = mkdtempSync(join(tmpdir(), 'flotilla-paused-hub-'));
const databaseUrl = await (await sharedPostgres()).createDatabase();
const log = pino({ level: 'silent' });
const storage = await openStorage({ dataDirectory: folder, databaseUrl, tell: () => {}, log });
const { database, vault, cluster, account } = storage;
const node = await aNode({ database, storage }, { cpus: 8 });
const hints = createHints(database, { replicaId: newId(), onError: () => {} });
const identity = { nodeId: node.id, accountId: account.id, publicKey: 'pk' };
const hub = new Hub({
  ...{ database, vault, hints, cluster, log, timers: systemTimers, heartbeatMs },
  monotonicNow: () => performance.now(),
  authenticate: async () => identity,
});
const server = createServer().listen(0, '127.0.0.1');
await once(server, 'listening');
hub.attach(server);
const clients: WebSocket[] = [];
after(async () => {
  for (const client of clients) client.terminate();
  await hub.close();
  await hints.close();
  server.close();
  await storage.close();
  rmSync(folder, { recursive: true, force: true });
});

async function dial(): Promise<WebSocket> {
  const { port } = server.address() as AddressInfo;
  const client = new WebSocket(`ws://127.0.0.1:${port}${agentConnectPath}`);
  clients.push(client);
  client.on('error', () => {});
  await once(client, 'open');
  return client;
}

function hello(client: WebSocket, cpus: number): void {
  const message = { type: 'hello', protocol: protocolVersion, agent_version: 'test', session_uuid: newId() };
  client.send(JSON.stringify({ ...message, inventory: anInventory({ cpus }), containers: [] }));
}

function tellInventory(client: WebSocket, cpus: number): void {
  client.send(JSON.stringify({ type: 'inventory', inventory: anInventory({ cpus }) }));
}

async function cpusInDatabase(): Promise<number | undefined> {
  const [row] = await database.query<{ cpu_count: number }>('select cpu_count from nodes');
  return row?.cpu_count;
}

/** Nothing of this process runs meanwhile, as under SIGSTOP; what was sent before waits in the kernel. */
function sleepThrough(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

test('a short pause changes nothing: what was said is heard late', async () => {
  const client = await dial();
  hello(client, 2);
  await once(client, 'message');
  tellInventory(client, 3);
  sleepThrough(heartbeatMs);
  await eventually('the inventory to be stored', async () => (await cpusInDatabase()) === 3);
  assert.equal(client.readyState, WebSocket.OPEN);
});

test('an inventory that comes late over an older connection does not undo what the agent said elsewhere', async () => {
  const client = await dial();
  hello(client, 6);
  await once(client, 'message');
  tellInventory(client, 7);
  await eventually('the inventory to be stored', async () => (await cpusInDatabase()) === 7);
  await connectNode(database, {
    ...{ nodeId: node.id, sessionId: newId(), agentVersion: 'test', inventory: anInventory({ cpus: 9 }) },
    leaseMs: 60_000,
  });
  const heard = new Promise<void>((resolve) => {
    hints.subscribe(({ kind }) => {
      if (kind === 'schedule') resolve();
    });
  });
  tellInventory(client, 8);
  await heard;
  assert.equal(await cpusInDatabase(), 9);
  client.close();
});

test('after a long one neither a hello nor an inventory from before counts, and the agents must dial again', async () => {
  const connected = await dial();
  hello(connected, 4);
  await once(connected, 'message');
  const fresh = await dial();
  const closed = Promise.all([connected, fresh].map((client) => once(client, 'close')));
  tellInventory(connected, 16);
  hello(fresh, 32);
  sleepThrough(silenceLimitMs(heartbeatMs));
  await closed;
  await eventually('all to be let go', async () => hub.sessionCount === 0);
  assert.equal(await cpusInDatabase(), 4, 'what came later elsewhere stands');
  const again = await dial();
  hello(again, 5);
  await eventually('the new hello to count', async () => (await cpusInDatabase()) === 5);
});
