// What surrounds a node under probe: a neighbour machine behind a veth pair, services of the host, and metadata addresses.
import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import type { Isolation } from '../../../src/agent/network.ts';
import type { ControlPlane, RunOptions } from '../../agent/support/control-plane.ts';
import { containerOf, docker } from '../../agent/support/node.ts';

/** Containers stay where the engine or the test puts them, and nothing guards them. */
export const noIsolation: Isolation = {
  state: { isolation: 'none', note: 'The test has switched it off.' },
  ready: Promise.resolve(),
  run: (signal) => new Promise((resolve) => signal.addEventListener('abort', () => resolve())),
};

export function tool(program: string, ...parameters: string[]): string {
  return execFileSync(program, parameters, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

/** Address on the host's side and on the neighbour's, of one network between them. */
const links: [string, string][] = [
  ['10.99.7.1/24', '10.99.7.2/24'],
  ['192.168.97.1/24', '192.168.97.2/24'],
  ['172.29.7.1/24', '172.29.7.2/24'],
  ['100.64.7.1/24', '100.64.7.2/24'],
  ['203.0.113.1/24', '203.0.113.2/24'],
  ['fd99:7::1/64', 'fd99:7::2/64'],
  ['2001:db8:7::1/64', '2001:db8:7::2/64'],
];
/** Behind the neighbour: reached by forwarding. */
const behind = ['169.254.170.2', '100.100.100.200'];
/** At the host itself. */
const hostMetadata = '169.254.169.254';
const metadataV6 = 'fd00:ec2::254';

export interface Lab {
  /** Process whose network namespace is the neighbour's. */
  neighbourPid: string;
  hostPort: number;
  /** The name server of /etc/resolv.conf, as an address of the neighbour; null where it is on loopback. */
  resolver: string | null;
  close: () => Promise<void>;
}

export async function buildLab(): Promise<Lab> {
  const namespace = spawn('unshare', ['--net', 'sleep', '600'], { stdio: 'ignore' });
  const pid = await ownNamespace(namespace);
  const inside = (...parameters: string[]) => tool('nsenter', '-t', pid, '-n', 'ip', ...parameters);
  tool('ip', 'link', 'add', 'lan0', 'type', 'veth', 'peer', 'name', 'lan1', 'netns', pid);
  inside('link', 'set', 'lo', 'up');
  for (const [here, there] of links) {
    tool('ip', 'addr', 'add', here, 'dev', 'lan0', ...nodad(here));
    inside('addr', 'add', there, 'dev', 'lan1', ...nodad(there));
  }
  tool('ip', 'link', 'set', 'lan0', 'up');
  inside('link', 'set', 'lan1', 'up');
  const resolver = resolverOfHost();
  for (const address of [...behind, ...(resolver === null ? [] : [resolver])]) {
    inside('addr', 'add', `${address}/32`, 'dev', 'lo');
    tool('ip', 'route', 'add', address, 'via', '10.99.7.2');
  }
  inside('route', 'add', 'default', 'via', '203.0.113.1');
  inside('-6', 'route', 'add', 'default', 'via', '2001:db8:7::1');
  inside('addr', 'add', `${metadataV6}/128`, 'dev', 'lo');
  tool('ip', '-6', 'route', 'add', metadataV6, 'via', 'fd99:7::2');
  tool('ip', 'addr', 'add', `${hostMetadata}/32`, 'dev', 'lo');
  const neighbour = await startNeighbour(pid, resolver);
  const host = await startHostService();
  return {
    neighbourPid: pid,
    hostPort: (host.address() as AddressInfo).port,
    resolver,
    async close() {
      await new Promise((resolve) => host.close(resolve));
      await stop(neighbour);
      await stop(namespace);
      tool('ip', 'addr', 'del', `${hostMetadata}/32`, 'dev', 'lo');
    },
  };
}

function nodad(address: string): string[] {
  return address.includes(':') ? ['nodad'] : [];
}

function resolverOfHost(): string | null {
  const [, address = '127.0.0.1'] =
    /^nameserver\s+(\d+\.\d+\.\d+\.\d+)/m.exec(readFileSync('/etc/resolv.conf', 'utf8')) ?? [];
  return address.startsWith('127.') ? null : address;
}

async function ownNamespace(child: ChildProcess): Promise<string> {
  const pid = String(child.pid);
  const own = tool('readlink', '/proc/self/ns/net');
  for (let tries = 0; tries < 200; tries += 1) {
    if (tool('readlink', `/proc/${pid}/ns/net`) !== own) return pid;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error('the neighbour has no network namespace of its own');
}

async function startNeighbour(pid: string, resolver: string | null): Promise<ChildProcess> {
  const program = fileURLToPath(new URL('./neighbour.ts', import.meta.url));
  const neighbour = spawn(
    'nsenter',
    ['-t', pid, '-n', process.execPath, program, ...(resolver === null ? [] : [resolver])],
    {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    },
  );
  await once(neighbour, 'message');
  return neighbour;
}

async function startHostService(): Promise<Server> {
  const server = createServer((_request, response) => response.end('host\n'));
  server.listen(0, '::');
  await once(server, 'listening');
  return server;
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.kill('SIGKILL');
  await exited;
}

/** `ADDRESS PORT` that a hostile container tries, by what they stand for. */
export function targets(lab: Lab, gateways: { v4: string; v6: string | null }): Record<string, string> {
  const at = (address: string, port: number) => `${address} ${port}`;
  return {
    'host by its bridge address': at(gateways.v4, lab.hostPort),
    'host by its private address': at('10.99.7.1', lab.hostPort),
    'host by its public address': at('203.0.113.1', lab.hostPort),
    'metadata at the host': at(hostMetadata, lab.hostPort),
    'metadata beyond the host': at('169.254.170.2', 8080),
    'metadata in 100.64.0.0/10': at('100.100.100.200', 8080),
    'private 10.0.0.0/8': at('10.99.7.2', 8080),
    'private 192.168.0.0/16': at('192.168.97.2', 8080),
    'private 172.16.0.0/12': at('172.29.7.2', 8080),
    'private 100.64.0.0/10': at('100.64.7.2', 8080),
    ...(lab.resolver === null ? {} : { 'another port of the name server': at(lab.resolver, 8080) }),
    'public address': at('203.0.113.2', 8080),
    ...(gateways.v6 === null
      ? {}
      : {
          'IPv6 host by its bridge address': at(gateways.v6, lab.hostPort),
          'IPv6 host by its public address': at('2001:db8:7::1', lab.hostPort),
          'IPv6 metadata': at(metadataV6, 8080),
          'IPv6 private fc00::/7': at('fd99:7::2', 8080),
          'IPv6 public address': at('2001:db8:7::2', 8080),
        }),
  };
}

/** A shell that asks every address at once for a page and prints `open NAME` or `shut NAME` for each. */
export function probe(places: Record<string, string>): RunOptions {
  const tries = Object.entries(places).map(
    ([name, place]) =>
      `(printf 'GET / HTTP/1.0\\r\\n\\r\\n' | timeout 4 nc -w 3 ${place} | grep -q HTTP && echo 'open ${name}' || echo 'shut ${name}') &`,
  );
  return { container: { command: ['/bin/sh', '-c', `${tries.join('\n')}\nwait`] } };
}

/** What was open, sorted; every address must have been tried. */
export async function openOnes(plane: ControlPlane, places: Record<string, string>): Promise<string[]> {
  const run = plane.want(probe(places));
  assert.equal((await plane.event(run, 'exited')).error, null);
  await plane.event(run, 'released');
  const lines = plane.logOf(run).trim().split('\n').sort();
  assert.equal(lines.length, Object.keys(places).length, plane.logOf(run));
  return lines.filter((line) => line.startsWith('open ')).map((line) => line.slice(5));
}

/** A run that serves HTTP on port 8080 until it is stopped. */
export async function startVictim(plane: ControlPlane): Promise<{ runUuid: string; v4: string; v6: string }> {
  const script = 'mkdir -p /srv; echo victim >/srv/index.html; exec httpd -f -p 8080 -h /srv';
  const runUuid = plane.want({ container: { command: ['/bin/sh', '-c', script] } });
  await plane.event(runUuid, 'running');
  const network = '{{range .NetworkSettings.Networks}}{{.IPAddress}} {{.GlobalIPv6Address}}{{end}}';
  const [v4 = '', v6 = ''] = (await docker('inspect', '-f', network, containerOf(runUuid))).split(' ');
  return { runUuid, v4, v6 };
}
