// Public ports in the database: given out once, closed with the run, rested before strangers get them, shown where they lead.
import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { test } from 'node:test';
import { countRefused, listOpenPorts } from '../../src/db/gateway-ports.ts';
import { updateInventory } from '../../src/db/nodes.ts';
import { applyRunEvents } from '../../src/db/run-events.ts';
import { defaultGatewaySettings } from '../../src/main/gateway-settings.ts';
import { newId } from '../../src/main/ids.ts';
import type { JobRun } from '../../src/protocol/job-run.ts';
import { aJob, aNode } from '../support/builders.ts';
import type { Client } from '../support/client.ts';
import { exited, type PlacedRun, place, preparing, released, report, running } from '../support/runs.ts';
import { eventually, setSqlClock, startTestServer } from '../support/server.ts';

const range = { from: 21_000, to: 21_003 };
const host = '127.0.0.3';
const server = await startTestServer({
  hasScheduler: false,
  gateway: { ...defaultGatewaySettings, ports: range, listenHost: host },
});
const { admin, database } = server;
const strangerId = await server.createAccount('stranger');
const stranger = server.client(await server.createKey({ accountId: strangerId }));

async function aRunningRun(
  options: { client?: Client; nodeId?: string; ports?: number[] } = {},
): Promise<PlacedRun> {
  const { client = admin, ports = [8000, 22] } = options;
  const nodeId = options.nodeId ?? (await aNode(server)).id;
  const { uuid } = await client.ask<{ uuid: string }>('POST', '/v1/jobs', { body: aJob() });
  const run = await place(server, uuid, nodeId);
  await report(server, run, preparing);
  const from = { nodeId, attempt: run.attempt };
  await applyRunEvents(database, [{ runId: run.id, from, event: running, publish: ports }], { kind: 'node' });
  return run;
}

async function end(run: PlacedRun): Promise<void> {
  await report(server, run, exited(0));
  await report(server, run, released);
}

async function portsOf(run: PlacedRun, client = admin): Promise<number[]> {
  const { node_urls: urls } = await client.ask<JobRun>('GET', `/v1/job-runs/${run.id}`);
  return urls.map((url) => url.port).sort();
}

test('ports are unique, named by the gateway, application ports first, and closed with the run', async () => {
  const [one, two] = [await aRunningRun(), await aRunningRun()];
  assert.deepEqual(
    [...(await portsOf(one)), ...(await portsOf(two))].sort(),
    [21_000, 21_001, 21_002, 21_003],
  );
  const { node_urls: urls } = await admin.ask<JobRun>('GET', `/v1/job-runs/${one.id}`);
  assert.deepEqual(
    urls.map((url) => [url.description, url.hostname, url.tls, url.ready]),
    [
      ['8000', host, false, false],
      ['ssh', host, false, false],
    ],
  );
  assert.equal((await listOpenPorts(database)).length, 4);
  await report(server, one, exited(0));
  assert.deepEqual(await portsOf(one), []);
  assert.deepEqual(
    (await listOpenPorts(database)).map((port) => port.runId),
    [two.id, two.id],
  );
  const third = await aRunningRun({ ports: [8000] });
  const { status_detail: why } = await admin.ask<JobRun>('GET', `/v1/job-runs/${third.id}`);
  assert.deepEqual(why, { code: 'no_public_port' }, 'closed is not free: the teardown is not proved');
  await report(server, one, released);
  for (const run of [two, third]) await end(run);
});

test('a port rests before another account gets it, but not before its own does', async () => {
  const run = await aRunningRun({ ports: [1, 2, 3, 4] });
  const numbers = await portsOf(run);
  assert.equal(numbers.length, 4);
  await end(run);
  const nodeId = (await aNode(server, { accountId: strangerId })).id;
  const strange = await aRunningRun({ client: stranger, nodeId, ports: [1] });
  const { status } = await stranger.ask<JobRun>('GET', `/v1/job-runs/${strange.id}`);
  assert.equal(status, 'FAILING');
  const own = await aRunningRun({ ports: [1] });
  assert.equal((await portsOf(own)).length, 1);
  await end(own);
  await setSqlClock(server, 11 * 60_000);
  const later = await aRunningRun({ client: stranger, nodeId, ports: [1] });
  assert.equal((await portsOf(later, stranger)).length, 1);
  for (const it of [strange, later]) await end(it);
  await setSqlClock(server, 30 * 60_000);
});

test('refused connections count for the ports of the node that refused them', async () => {
  const run = await aRunningRun({ ports: [8000] });
  const [port] = await portsOf(run);
  assert.ok(port);
  await countRefused(database, new Map([[port, 2]]));
  await countRefused(database, new Map([[port, 3]]), run.nodeId);
  await countRefused(database, new Map([[port, 100]]), newId());
  const { refused_connection_count: count } = await admin.ask<JobRun>('GET', `/v1/job-runs/${run.id}`);
  assert.equal(count, 5);
  await end(run);
});

test('ports of a node with direct ingress name its host and are left to its agent', async () => {
  const { id: nodeId, hello, inventory } = await aNode(server);
  await updateInventory(
    database,
    { nodeId, hello },
    { ...inventory, ingress: { public_host: 'gpu-1.example' } },
  );
  const run = await aRunningRun({ nodeId, ports: [8000] });
  const { node_urls: urls } = await admin.ask<JobRun>('GET', `/v1/job-runs/${run.id}`);
  assert.deepEqual(
    urls.map((url) => url.hostname),
    ['gpu-1.example'],
  );
  assert.deepEqual(
    (await listOpenPorts(database)).map((port) => port.isDirect),
    [true],
  );
  await end(run);
});

test('a replica listens on what is open, and stops when it is not', async () => {
  const isListening = (port: number) =>
    new Promise<boolean>((resolve) => {
      const socket = connect({ host, port });
      socket.once('connect', () => resolve(true));
      socket.once('error', () => resolve(false));
      socket.once('connect', () => socket.destroy());
    });
  const run = await aRunningRun({ ports: [8000] });
  const [port = 0] = await portsOf(run);
  await eventually('the port to listen', () => isListening(port));
  await end(run);
  await eventually('the port to be closed', async () => !(await isListening(port)));
});
