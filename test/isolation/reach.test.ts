// What a hostile container can reach over the network: everything without the rules, and with them only the internet.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { DockerRuntime } from '../../src/agent/docker.ts';
import { ControlPlane, shell } from '../agent/support/control-plane.ts';
import { docker, type RunningAgent, removeContainers, startAgent } from '../agent/support/node.ts';
import { buildLab, type Lab, noIsolation, openOnes, startVictim, targets, tool } from './support/lab.ts';

/** Three agents on one engine: without rules, with them, and with private networks open. */
let lab: Lab;
const nodes: { plane: ControlPlane; agent: RunningAgent }[] = [];
let open: ControlPlane;
let guarded: ControlPlane;
let lan: ControlPlane;
let victims: Record<'open' | 'guarded' | 'lan', { v4: string; v6: string }>;

const gateways = {
  open: { v4: '172.31.1.1', v6: 'fd11:1::1' },
  guarded: { v4: '172.31.2.1', v6: 'fd11:2::1' },
  lan: { v4: '172.31.3.1', v6: 'fd11:3::1' },
};

before(async () => {
  lab = await buildLab();
  // Made before the agents come, with IPv6, which the agent's own networks do not have.
  await makeNetwork('open', 'open0', gateways.open);
  await makeNetwork('flotilla', 'flotilla0', gateways.guarded);
  await makeNetwork('flotilla-lan', 'flotilla-lan0', gateways.lan);
  const runtime = new DockerRuntime(null);
  await runtime.joinNetwork({ name: 'open', bridge: 'open0' });
  open = await addNode({ runtime, isolation: noIsolation });
  guarded = await addNode({});
  lan = await addNode({ isLanAllowed: true });
  const [openVictim, guardedVictim, lanVictim] = await Promise.all([
    startVictim(open),
    startVictim(guarded),
    startVictim(lan),
  ]);
  victims = { open: openVictim, guarded: guardedVictim, lan: lanVictim };
});

after(async () => {
  for (const { plane, agent } of nodes) {
    await agent.stop();
    await plane.close();
    await removeContainers(plane.nodeUuid);
  }
  for (const network of ['open', 'flotilla', 'flotilla-lan']) await docker('network', 'rm', network);
  await lab.close();
});

async function makeNetwork(name: string, bridge: string, gateway: { v4: string; v6: string }) {
  await docker('network', 'rm', name).catch(() => {});
  const v4 = ['--subnet', gateway.v4.replace(/1$/, '0/24'), '--gateway', gateway.v4];
  const v6 = ['--ipv6', '--subnet', gateway.v6.replace(/1$/, '/64'), '--gateway', gateway.v6];
  await docker('network', 'create', ...v4, ...v6, '-o', `com.docker.network.bridge.name=${bridge}`, name);
}

async function addNode(options: Parameters<typeof startAgent>[1]): Promise<ControlPlane> {
  const plane = await new ControlPlane().listen();
  nodes.push({ plane, agent: startAgent(plane, options) });
  await plane.until(() => plane.connectionCount > 0, { what: () => 'the agent' });
  return plane;
}

function victimPlaces(name: string, { v4, v6 }: { v4: string; v6: string }): Record<string, string> {
  return { [name]: `${v4} 8080`, [`${name} by IPv6`]: `${v6} 8080` };
}

const publicOnes = ['IPv6 public address', 'public address'];

test('the agents tell the truth about isolation', () => {
  const told = [open, guarded, lan].map((plane) => plane.hellos[0]?.inventory.isolation);
  assert.deepEqual(told, ['none', 'enforced', 'enforced']);
  assert.equal(open.hellos[0]?.inventory.isolation_note, 'The test has switched it off.');
  assert.equal(guarded.hellos[0]?.inventory.isolation_note, null);
});

test('without rules a container reaches the host, other runs, metadata and private networks', async () => {
  const places = { ...targets(lab, gateways.open), ...victimPlaces('other run', victims.open) };
  assert.deepEqual(await openOnes(open, places), Object.keys(places).sort());
});

test('with rules it reaches public addresses and nothing else', async () => {
  const places = {
    ...targets(lab, gateways.guarded),
    ...victimPlaces('other run', victims.guarded),
    ...victimPlaces('run on the network with LAN', victims.lan),
    ...victimPlaces('container of the operator', victims.open),
  };
  assert.deepEqual(await openOnes(guarded, places), publicOnes);
});

test('with --allow-lan it reaches private networks, but neither other runs nor host nor metadata', async () => {
  const around = targets(lab, gateways.lan);
  const places = {
    ...around,
    ...victimPlaces('other run', victims.lan),
    ...victimPlaces('run on the network without LAN', victims.guarded),
  };
  const privateOnes = Object.keys(around).filter((name) => /private (\d|fc)|name server/.test(name));
  assert.deepEqual(await openOnes(lan, places), [...publicOnes, ...privateOnes].sort());
});

test('the host, and with it what the agent tunnels, reaches guarded runs', async () => {
  for (const { v4, v6 } of [victims.guarded, victims.lan]) {
    assert.equal(await (await fetch(`http://${v4}:8080/`)).text(), 'victim\n');
    assert.equal(await (await fetch(`http://[${v6}]:8080/`)).text(), 'victim\n');
  }
});

test('a neighbour that routes through the node reaches runs without rules only', () => {
  assert.equal(fromNeighbour(victims.open.v6), 'victim\n');
  assert.equal(fromNeighbour(victims.guarded.v6), 'no way');
});

function fromNeighbour(address: string): string {
  const parameters = ['-t', lab.neighbourPid, '-n', 'curl', '-sg', '-m', '2', `http://[${address}]:8080/`];
  try {
    return tool('nsenter', ...parameters);
  } catch {
    return 'no way';
  }
}

test('names are resolved by a server on a private address', { skip: resolverSkip() }, async () => {
  for (const plane of [open, guarded, lan]) {
    const run = plane.want(shell('nslookup answer.test 127.0.0.11'));
    await plane.event(run, 'released');
    assert.match(plane.logOf(run), /answer\.test\s+Address: 203\.0\.113\.2/);
  }
});

function resolverSkip(): string | false {
  const isLoopback = /^nameserver\s+127\./m.test(readFileSync('/etc/resolv.conf', 'utf8'));
  return (
    isLoopback && 'the name server of this machine is on loopback, so it is not asked from the containers'
  );
}
