// The rules themselves: they come back when someone removes them, and the node tells the truth meanwhile and elsewhere.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { chmodSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { dirname } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type Clock, systemClock } from '../../src/agent/clock.ts';
import type { Inventory } from '../../src/protocol/agent-messages.ts';
import { ControlPlane } from '../agent/support/control-plane.ts';
import { docker, type RunningAgent, removeContainers, startAgent } from '../agent/support/node.ts';
import { openOnes, startVictim, tool } from './support/lab.ts';

interface Node {
  plane: ControlPlane;
  agent: RunningAgent;
}
/** Those that have not left yet: an agent that stayed would keep this process alive. */
const nodes = new Set<Node>();
let first: Node;
let second: Node;

before(async () => {
  [first, second] = await Promise.all([addNode(), addNode()]);
});

after(async () => {
  for (const node of nodes) await leave(node);
});

/** No look at the node comes by time: only the test's own knocks lead to one, and what follows from them. */
const clock: Clock = {
  ...systemClock,
  after: (delayMs, task) => systemClock.after(delayMs === 30_000 ? 3_600_000 : delayMs, task),
};

async function addNode(): Promise<Node> {
  const plane = await new ControlPlane().listen();
  const agent = startAgent(plane, { clock });
  const node = { plane, agent };
  nodes.add(node);
  await plane.until(() => plane.connectionCount > 0, { what: () => 'the agent' });
  return node;
}

async function leave(node: Node): Promise<void> {
  const { plane, agent } = node;
  nodes.delete(node);
  await agent.stop();
  await plane.close();
  await removeContainers(plane.nodeUuid);
}

const chains = ['FLOTILLA-INPUT', 'FLOTILLA-FORWARD'];

function standing(program: string): string {
  const lines = tool(program, '-w', '5', '-S').split('\n');
  return lines.filter((line) => /FLOTILLA-(INPUT|FORWARD)/.test(line)).join('\n');
}

test('two agents that start at once share network and rules, and one that leaves takes nothing away', async () => {
  for (const { plane } of [first, second]) assert.equal(plane.hellos[0]?.inventory.isolation, 'enforced');
  const before = [standing('iptables'), standing('ip6tables')];
  for (const listing of before)
    for (const chain of chains) assert.match(listing, new RegExp(`-N ${chain}\n`));
  assert.equal(before[0]?.match(/-A INPUT /g)?.length, 1, 'one jump for both agents');
  await leave(second);
  assert.deepEqual([standing('iptables'), standing('ip6tables')], before);
  assert.equal((await docker('network', 'ls', '-q', '--filter', 'name=^flotilla$')).split('\n').length, 1);
});

/** Something that the engine tells of, so that a test need not wait for the next look. */
async function knock(): Promise<void> {
  await docker('network', 'create', 'knock');
  await docker('network', 'rm', 'knock');
}

async function hears(plane: ControlPlane, word: 'none' | 'enforced'): Promise<Inventory> {
  const find = () => plane.inventories.find(({ isolation }) => isolation === word);
  await plane.until(() => find() !== undefined, { what: () => word });
  const found = find();
  assert.ok(found);
  return found;
}

test('a node whose jumps are gone or come late says none, puts them back, and says enforced when they stay', async () => {
  const { plane } = first;
  const before = [standing('iptables'), standing('ip6tables')];
  tool('iptables', '-w', '5', '-F', 'INPUT');
  tool('ip6tables', '-w', '5', '-I', 'INPUT', '1', '-j', 'ACCEPT');
  await knock();
  assert.match((await hears(plane, 'none')).isolation_note ?? '', /changed by someone else: .*written again/);
  assert.deepEqual([standing('iptables'), standing('ip6tables')], before);
  assert.equal((await hears(plane, 'enforced')).isolation_note, null);
});

test('with its chains flushed a run reaches the host; the node says none, writes them again, and it does not', async () => {
  const { plane } = first;
  plane.inventories.length = 0;
  const before = standing('iptables');
  const gateway = await docker('network', 'inspect', '-f', '{{(index .IPAM.Config 0).Gateway}}', 'flotilla');
  const server = createServer((_request, response) => response.end('host\n')).listen(0, '0.0.0.0');
  await once(server, 'listening');
  server.unref();
  const places = { host: `${gateway} ${(server.address() as AddressInfo).port}` };
  assert.deepEqual(await openOnes(plane, places), []);
  for (const chain of chains) tool('iptables', '-w', '5', '-F', chain);
  assert.deepEqual(await openOnes(plane, places), ['host']);
  await knock();
  await hears(plane, 'none');
  assert.equal(standing('iptables'), before);
  assert.deepEqual(await openOnes(plane, places), []);
  await hears(plane, 'enforced');
  server.close();
});

test('a network that was pruned comes back, and runs start', async () => {
  await docker('network', 'rm', 'flotilla');
  const victim = await startVictim(first.plane);
  assert.match(victim.v4, /^\d+\.\d+\.\d+\.\d+$/);
  first.plane.kill(victim.runUuid);
});

const place = fileURLToPath(new URL('./support/isolation-process.ts', import.meta.url));
const look = [process.execPath, place];
const unfit: Record<string, { command: string[]; note: RegExp }> = {
  'in another network than the engine': {
    command: ['unshare', '--net', ...look],
    note: /flotilla0 is not in the agent's network/,
  },
  'that is not root': { command: [...look, '65534'], note: /does not run as root/ },
  'without iptables': {
    command: ['unshare', '--mount', 'sh', '-c', `mount -t tmpfs none /usr/sbin && exec "$@"`, 'sh', ...look],
    note: /iptables is not installed; install the package iptables/,
  },
};

for (const [where, { command, note }] of Object.entries(unfit)) {
  test(`an agent ${where} says none, and why`, () => {
    const socket = (process.env.DOCKER_HOST ?? '').replace('unix://', '');
    chmodSync(socket, 0o666);
    chmodSync(dirname(socket), 0o711);
    const [program = '', ...parameters] = command;
    const state = JSON.parse(tool(program, ...parameters));
    assert.equal(state.isolation, 'none');
    assert.match(state.note, note);
  });
}
