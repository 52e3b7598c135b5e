// Machines on one machine: a server and two nodes, each in a network namespace of its own, and this one as the client.
// The client reaches the server alone; so does each node, which no one can reach.
import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Client, createClient } from '../../../src/sdk/client.ts';
import { importReferenceImages } from '../../support/images/reference-images.ts';
import {
  type Machine,
  plainEnvironment,
  runAtOnce,
  startMachine,
  unmountBelow,
} from '../../support/machine.ts';
import { mainFile } from './command.ts';
import { eventually } from './eventually.ts';

const apiPort = 7070;
const nodeCount = 2;
/** Addresses of the client's link; a node's link is 10.99.N.1 (server) and 10.99.N.2. */
export const clientAddress = '10.98.0.2';
export const serverAddress = '10.98.0.1';

export interface LabNode {
  uuid: string;
  name: string;
  dockerHost: string;
  /** The agent's process, to be paused and killed. */
  agent: ChildProcess;
  /** Pulls the node's cable: nothing arrives, and nobody is told. */
  cut(): void;
  mend(): void;
}

export interface LabOptions {
  /** More options of the server's and of each agent's command; nodes count from 1. */
  serverArgs?: readonly string[];
  agentArgs?: (number: number) => readonly string[];
  /** What each engine is given; absent: the reference images. */
  importImages?: (dockerHost: string) => void;
}

export interface Lab {
  client: Client;
  nodes: LabNode[];
  remove(): Promise<void>;
}

/** Everything is up and both nodes are connected. */
export async function createLab(folder: string, options: LabOptions = {}): Promise<Lab> {
  const children: ChildProcess[] = [];
  const logFiles: string[] = [];
  const keep = (child: ChildProcess, log: string) => {
    children.push(child);
    logFiles.push(log);
  };
  const endAll = async () => {
    for (const child of children.toReversed()) await end(child);
    unmountBelow(folder);
  };
  try {
    const { client, nodes } = await startAll(folder, { children, keep, options });
    const remove = async () => {
      client.close();
      await endAll();
    };
    return { client, nodes, remove };
  } catch (cause) {
    const logs = logFiles.map((file) => `${file}:\n${readFileSync(file, 'utf8').slice(-4_000)}`).join('\n');
    await endAll();
    throw new Error(`The machines did not start; what they wrote:\n${logs}`, { cause });
  }
}

async function startAll(
  folder: string,
  { children, keep, options }: { children: ChildProcess[]; keep: Keep; options: LabOptions },
): Promise<{ client: Client; nodes: LabNode[] }> {
  const server = await startMachine((holder) => children.push(holder));
  link(server, { name: 'client', local: clientAddress, remote: serverAddress });
  const client = await startServer(server, { folder, keep, args: options.serverArgs ?? [] });
  const nodes: LabNode[] = [];
  for (let number = 1; number <= nodeCount; number += 1) {
    const machine = await startMachine((holder) => children.push(holder));
    linkNode(server, machine, number);
    const dockerHost = await startEngine(machine, join(folder, `node-${number}`), keep);
    (options.importImages ?? importReferenceImages)(dockerHost);
    const args = options.agentArgs?.(number) ?? [];
    const node = await startAgent(machine, { client, dockerHost, number, folder, keep, args });
    const setLink = (state: 'up' | 'down') => server.run('ip', 'link', 'set', `node${number}`, state);
    nodes.push({ ...node, cut: () => setLink('down'), mend: () => setLink('up') });
  }
  await eventually('both nodes to be ready', async () => {
    const { data } = await client.nodes.list();
    return data.filter(({ status }) => status === 'ready').length === nodeCount;
  });
  return { client, nodes };
}

type Keep = (child: ChildProcess, log: string) => void;

function startOn(
  machine: Machine,
  command: readonly string[],
  { log, env = {} }: { log: string; env?: Record<string, string> },
): ChildProcess {
  const output = openSync(log, 'a');
  return spawn('setpriv', ['--pdeathsig', 'TERM', ...machine.inside, ...command], {
    env: { ...plainEnvironment(), ...env },
    stdio: ['ignore', output, output],
  });
}

/** A cable between this namespace and the machine. */
function link(machine: Machine, ends: { name: string; local: string; remote: string }): void {
  const { name, local, remote } = ends;
  runAtOnce(['ip', 'link', 'add', name, 'type', 'veth', 'peer', 'name', name, 'netns', String(machine.pid)]);
  runAtOnce(['ip', 'address', 'add', `${local}/24`, 'dev', name]);
  runAtOnce(['ip', 'link', 'set', name, 'up']);
  machine.run('ip', 'address', 'add', `${remote}/24`, 'dev', name);
  machine.run('ip', 'link', 'set', name, 'up');
}

function linkNode(server: Machine, node: Machine, number: number): void {
  const name = `node${number}`;
  server.run('ip', 'link', 'add', name, 'type', 'veth', 'peer', 'name', 'up0', 'netns', String(node.pid));
  server.run('ip', 'address', 'add', `10.99.${number}.1/24`, 'dev', name);
  server.run('ip', 'link', 'set', name, 'up');
  node.run('ip', 'address', 'add', `10.99.${number}.2/24`, 'dev', 'up0');
  node.run('ip', 'link', 'set', 'up0', 'up');
}

/** An engine of the machine's own, since containers are reached in their engine's namespace alone. */
async function startEngine(machine: Machine, folder: string, keep: Keep): Promise<string> {
  mkdirSync(folder);
  const dockerHost = `unix://${folder}/docker.sock`;
  const places = [
    '--data-root',
    `${folder}/data`,
    '--exec-root',
    `${folder}/exec`,
    '--pidfile',
    `${folder}/pid`,
  ];
  const log = `${folder}/dockerd.log`;
  keep(startOn(machine, ['dockerd', ...places, '-H', dockerHost], { log }), log);
  await eventually(`the engine at ${dockerHost}`, async () => {
    try {
      execFileSync('docker', ['-H', dockerHost, 'version'], { timeout: 5_000, stdio: 'ignore' });
      return true;
    } catch {
      return false;
    }
  });
  return dockerHost;
}

async function startServer(
  machine: Machine,
  { folder, keep, args: more }: { folder: string; keep: Keep; args: readonly string[] },
): Promise<Client> {
  const log = join(folder, 'server.log');
  const dataDirectory = join(folder, 'data');
  const address = ['--host', '0.0.0.0', '--port', String(apiPort), '--insecure-http'];
  const gateway = ['--gateway-host', serverAddress];
  const args = ['server', '--data-dir', dataDirectory, ...address, ...gateway, ...more];
  const child = startOn(machine, [process.execPath, mainFile, ...args], { log });
  keep(child, log);
  const key = await eventually('the admin key', async () => {
    assert.equal(child.exitCode, null, `the server ended: ${readFileSync(log, 'utf8')}`);
    try {
      return JSON.parse(readFileSync(join(dataDirectory, 'admin-key.json'), 'utf8'));
    } catch {
      return null;
    }
  });
  const url = `http://${serverAddress}:${apiPort}`;
  return createClient({ url, publicKey: key.public_key, secretKey: key.secret_key });
}

async function startAgent(
  machine: Machine,
  at: {
    client: Client;
    dockerHost: string;
    number: number;
    folder: string;
    keep: Keep;
    args: readonly string[];
  },
): Promise<Omit<LabNode, 'cut' | 'mend'>> {
  const { client, dockerHost, number, folder, keep } = at;
  const name = `node-${number}`;
  const { uuid, key } = await client.nodes.create({ name });
  const keyFile = join(folder, name, 'node-key.json');
  const url = `http://10.99.${number}.1:${apiPort}`;
  writeFileSync(keyFile, JSON.stringify({ ...key, url, node_uuid: uuid }), { mode: 0o600 });
  const log = join(folder, name, 'agent.log');
  const socket = dockerHost.replace('unix://', '');
  const args = ['node', 'run', '--node-key', keyFile, '--docker-socket', socket, ...at.args];
  const env = { FLOTILLA_DATA_DIR: join(folder, name, 'state') };
  const agent = startOn(machine, [process.execPath, mainFile, ...args], { log, env });
  keep(agent, log);
  return { uuid, name, dockerHost, agent };
}

/** A process that does not end is killed: dockerd needs a second for its containers. */
async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), 15_000);
  await ended;
  clearTimeout(timer);
}
