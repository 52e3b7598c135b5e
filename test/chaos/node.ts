// One node of the place: a machine with a cable, an engine, a balancer before the servers, and an agent.
import type { ChildProcess } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Client } from '../../src/sdk/client.ts';
import { type Machine, plainEnvironment, runAtOnce, startMachine } from '../support/machine.ts';
import { startBalancer } from './balancer.ts';
import { Daemon, type DaemonOptions } from './daemon.ts';
import { askEngine, importImage } from './engine.ts';
import { until } from './until.ts';

export interface ChaosNode {
  number: number;
  uuid: string;
  name: string;
  hasLiveRestore: boolean;
  /** Its agent stops its runs when it has heard nothing of the servers for a while. */
  stopsWhenCutOff: boolean;
  machine: Machine;
  /** Of its engine. */
  socketPath: string;
  engine: Daemon;
  agent: Daemon;
  link: Link;
  /** Which GPUs the engine gave to which container. */
  gpuLog: string;
  engineLog: string;
}

/** The one cable between the node and the servers. */
export interface Link {
  cut(how: 'both' | 'towards_node' | 'towards_servers'): void;
  mend(): void;
}

export interface NodeOrder {
  number: number;
  hasLiveRestore: boolean;
  /** Its agent stops its runs when it has heard nothing of the servers for a while. */
  stopsWhenCutOff: boolean;
  folder: string;
  image: string;
  serverHosts: readonly string[];
  client: Client;
  mainFile: string;
  onSurprise: DaemonOptions['onSurprise'];
  keepHolder: (holder: ChildProcess) => void;
  closers: (() => Promise<void> | void)[];
}

export const apiPort = 7070;
const gpuCount = 2;
const stubs = resolve(import.meta.dirname, '../support/stubs');

export async function startNode(order: NodeOrder): Promise<ChaosNode> {
  const { number, hasLiveRestore, stopsWhenCutOff, folder, closers } = order;
  mkdirSync(folder);
  const machine = await startMachine(order.keepHolder);
  const link = layCable(machine, number);
  const balancer = await startBalancer({
    host: `10.99.${number}.1`,
    port: apiPort,
    targets: order.serverHosts.map((host) => ({ host, port: apiPort })),
  });
  closers.push(() => balancer.close());
  const socketPath = join(folder, 'docker.sock');
  const gpuLog = join(folder, 'gpus.log');
  const engineLog = join(folder, 'dockerd.log');
  const engine = startEngine(machine, order, { socketPath, gpuLog, engineLog });
  await until(`the engine of node ${number}`, () => askEngine<{ ID: string }>(socketPath, '/info'));
  await importImage(socketPath, order.image);
  const name = `node-${number}`;
  const { uuid, key } = await order.client.nodes.create({ name });
  const keyFile = join(folder, 'node-key.json');
  const url = `http://10.99.${number}.1:${apiPort}`;
  writeFileSync(keyFile, JSON.stringify({ ...key, url, node_uuid: uuid }), { mode: 0o600 });
  const agent = startAgent(machine, order, { socketPath, keyFile });
  return {
    number,
    uuid,
    name,
    hasLiveRestore,
    stopsWhenCutOff,
    machine,
    socketPath,
    engine,
    agent,
    link,
    gpuLog,
    engineLog,
  };
}

function layCable(machine: Machine, number: number): Link {
  const name = `node${number}`;
  runAtOnce(['ip', 'link', 'add', name, 'type', 'veth', 'peer', 'name', 'up0', 'netns', String(machine.pid)]);
  runAtOnce(['ip', 'address', 'add', `10.99.${number}.1/24`, 'dev', name]);
  runAtOnce(['ip', 'link', 'set', name, 'up']);
  machine.run('ip', 'address', 'add', `10.99.${number}.2/24`, 'dev', 'up0');
  machine.run('ip', 'link', 'set', 'up0', 'up');
  machine.run('ip', 'route', 'add', '10.98.0.0/24', 'via', `10.99.${number}.1`);
  const dropped: string[][] = [];
  return {
    cut(how) {
      if (how === 'both') return runAtOnce(['ip', 'link', 'set', name, 'down']);
      const rule = how === 'towards_node' ? ['OUTPUT', '-o', name] : ['INPUT', '-i', name];
      runAtOnce(['iptables', '-w', '-A', ...rule, '-j', 'DROP']);
      dropped.push(rule);
    },
    mend() {
      runAtOnce(['ip', 'link', 'set', name, 'up']);
      for (const rule of dropped.splice(0)) runAtOnce(['iptables', '-w', '-D', ...rule, '-j', 'DROP']);
    },
  };
}

function startEngine(
  machine: Machine,
  { folder, number, hasLiveRestore, closers }: NodeOrder,
  { socketPath, gpuLog, engineLog }: { socketPath: string; gpuLog: string; engineLog: string },
): Daemon {
  const pidFile = join(folder, 'docker.pid');
  const execRoot = join(folder, 'exec');
  const places = ['--data-root', join(folder, 'data'), '--exec-root', execRoot, '--pidfile', pidFile];
  const env = plainEnvironment();
  const daemon = new Daemon({
    name: `dockerd-${number}`,
    logFile: engineLog,
    command: [
      ...machine.inside,
      'dockerd',
      ...places,
      '-H',
      `unix://${socketPath}`,
      ...(hasLiveRestore ? ['--live-restore'] : []),
    ],
    env: { ...env, PATH: `${stubs}:${env.PATH}`, FLOTILLA_TEST_GPU_LOG: gpuLog },
    // A killed one's zombie looks alive to the next one.
    prepare() {
      rmSync(pidFile, { force: true });
      rmSync(join(execRoot, 'containerd', 'containerd.pid'), { force: true });
    },
    // The engine may fail to start while its predecessor's containerd still ends: it is tried again.
    onSurprise: () => {},
  });
  daemon.start();
  closers.push(() => daemon.stop());
  return daemon;
}

function startAgent(
  machine: Machine,
  { folder, number, stopsWhenCutOff, mainFile, onSurprise, closers }: NodeOrder,
  { socketPath, keyFile }: { socketPath: string; keyFile: string },
): Daemon {
  const env = plainEnvironment();
  const cutOff = stopsWhenCutOff ? ['--stop-when-cut-off', '12s'] : [];
  const places = ['--docker-socket', socketPath, '--state-dir', join(folder, 'state'), ...cutOff];
  const daemon = new Daemon({
    name: `agent-${number}`,
    logFile: join(folder, 'agent.log'),
    command: [...machine.inside, process.execPath, mainFile, 'node', 'run', '--node-key', keyFile, ...places],
    env: { ...env, PATH: `${stubs}:${env.PATH}`, FLOTILLA_TEST_GPU_COUNT: String(gpuCount) },
    onSurprise,
  });
  daemon.start();
  closers.push(() => daemon.stop());
  return daemon;
}
