// A node with an engine of its own in a network namespace of its own: an engine that a test kills and starts again.
import { type ChildProcess, execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type Balancer, startBalancer } from '../../chaos/balancer.ts';
import { Daemon } from '../../chaos/daemon.ts';
import {
  type Machine,
  plainEnvironment,
  runAtOnce,
  startMachine,
  unmountBelow,
} from '../../support/machine.ts';
import { mainFile } from './command.ts';
import { docker } from './docker.ts';
import { eventually } from './eventually.ts';
import type { Place } from './place.ts';

export interface EngineNodeOptions {
  /** Tells it from other nodes of the test: its network is 10.97.NUMBER.0/24. */
  number: number;
  region: string;
  hasLiveRestore: boolean;
  /** Where engine and agent keep what they have; absent: a folder of its own on the machine's disk. */
  folder?: string;
}

export interface EngineNode {
  uuid: string;
  region: string;
  engine: Daemon;
  agent: Daemon;
  /** `docker ARGS` on its engine. */
  docker(...args: string[]): Promise<string>;
  /** Makes a port of this namespace's loopback reachable from the node; its address there. */
  reach(port: number): Promise<string>;
  /** Resolves when the engine answers. */
  engineAnswers(): Promise<void>;
  remove(): Promise<void>;
}

/** Of this namespace, as the nodes see them. */
const registries = '10.97.0.0/16';

const execute = promisify(execFile);
/** An engine without live-restore first stops the containers it finds: 11 s were measured. */
const engineStartLimitMs = 60_000;

/** For the server of `place`; connected and ready on return. */
export async function startEngineNode(place: Place, options: EngineNodeOptions): Promise<EngineNode> {
  const { number, region } = options;
  const own = mkdtempSync('/tmp/flotilla-engine-');
  const folder = options.folder ?? own;
  const children: ChildProcess[] = [];
  const machine = await startMachine((holder) => children.push(holder));
  layCable(machine, number);
  const relays: Balancer[] = [];
  const reach = async (port: number) => {
    const host = `10.97.${number}.1`;
    relays.push(await startBalancer({ host, port, targets: [{ host: '127.0.0.1', port }] }));
    return `${host}:${port}`;
  };
  const server = await reach(Number(new URL(place.adminKey().url).port));
  const socketPath = join(own, 'docker.sock');
  const onEngine = (...args: string[]) => dockerAt(socketPath, args);
  const engine = anEngine(machine, { folder, own, socketPath, hasLiveRestore: options.hasLiveRestore });
  const client = place.client();
  const name = `engine-node-${number}`;
  const { uuid, key } = await client.nodes.create({ name, region_code: region });
  const keyFile = join(own, 'node-key.json');
  writeFileSync(keyFile, JSON.stringify({ ...key, url: `http://${server}`, node_uuid: uuid }), {
    mode: 0o600,
  });
  const agent = anAgent(machine, { folder, own, socketPath, keyFile });
  const node: EngineNode = {
    ...{ uuid, region, engine, agent, reach, docker: onEngine },
    async engineAnswers() {
      const isUp = () =>
        onEngine('version').then(
          () => true,
          () => false,
        );
      await eventually(`the engine of ${name}`, isUp, engineStartLimitMs);
    },
    async remove() {
      await agent.stop();
      // Containers outlive a killed engine: only an engine ends them.
      engine.start();
      await node.engineAnswers();
      await endContainers(onEngine);
      await engine.stop();
      for (const relay of relays) relay.close();
      for (const child of children) child.kill('SIGKILL');
      for (const place of new Set([folder, own])) unmountBelow(place);
      rmSync(own, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
    },
  };
  try {
    engine.start();
    await node.engineAnswers();
    await importBusybox(own, onEngine);
    agent.start();
    await eventually(`${name} to be ready`, async () => (await client.nodes.get(uuid)).status === 'ready');
    return node;
  } catch (error) {
    await node.remove();
    throw error;
  }
}

/** Between this namespace and the machine. */
function layCable(machine: Machine, number: number): void {
  const name = `engine${number}`;
  runAtOnce(['ip', 'link', 'add', name, 'type', 'veth', 'peer', 'name', 'up0', 'netns', String(machine.pid)]);
  runAtOnce(['ip', 'address', 'add', `10.97.${number}.1/24`, 'dev', name]);
  runAtOnce(['ip', 'link', 'set', name, 'up']);
  machine.run('ip', 'address', 'add', `10.97.${number}.2/24`, 'dev', 'up0');
  machine.run('ip', 'link', 'set', 'up0', 'up');
}

interface Places {
  folder: string;
  own: string;
  socketPath: string;
}

function anEngine(
  machine: Machine,
  { folder, own, socketPath, hasLiveRestore }: Places & { hasLiveRestore: boolean },
): Daemon {
  const pidFile = join(own, 'docker.pid');
  const execRoot = join(own, 'exec');
  const places = ['--data-root', join(folder, 'data'), '--exec-root', execRoot, '--pidfile', pidFile];
  return new Daemon({
    name: 'dockerd',
    logFile: join(own, 'dockerd.log'),
    command: [
      ...machine.inside,
      ...['dockerd', ...places, '-H', `unix://${socketPath}`, '--insecure-registry', registries],
      ...(hasLiveRestore ? ['--live-restore'] : []),
    ],
    env: plainEnvironment(),
    // A killed one's zombie looks alive to the next one.
    prepare() {
      rmSync(pidFile, { force: true });
      rmSync(join(execRoot, 'containerd', 'containerd.pid'), { force: true });
    },
    onSurprise: () => {},
  });
}

function anAgent(
  machine: Machine,
  { folder, own, socketPath, keyFile }: Places & { keyFile: string },
): Daemon {
  const state = join(folder, 'state');
  mkdirSync(state);
  return new Daemon({
    name: 'agent',
    logFile: join(own, 'agent.log'),
    command: [
      ...[...machine.inside, process.execPath, mainFile, 'node', 'run', '--node-key', keyFile],
      ...['--docker-socket', socketPath, '--state-dir', state, '--allow-registry', registries],
    ],
    env: plainEnvironment(),
    onSurprise: (ending, lastWords) => console.error(`${ending}: ${lastWords}`),
  });
}

async function dockerAt(socketPath: string, args: readonly string[]): Promise<string> {
  const { stdout } = await execute('docker', ['-H', `unix://${socketPath}`, ...args], { timeout: 30_000 });
  return stdout.trim();
}

async function importBusybox(folder: string, onEngine: EngineNode['docker']): Promise<void> {
  const archive = join(folder, 'busybox.tar');
  await docker('save', '-o', archive, 'busybox:latest');
  await onEngine('load', '-i', archive);
  rmSync(archive);
}

async function endContainers(onEngine: EngineNode['docker']): Promise<void> {
  const ids = await onEngine('ps', '-aq').catch(() => '');
  if (ids !== '') await onEngine('rm', '-f', ...ids.split('\n'));
}
