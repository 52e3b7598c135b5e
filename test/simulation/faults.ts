// What can break: servers, agents and their machines, the network between them, and engines.
import type { Invariants } from './invariants.ts';
import type { Network } from './network.ts';
import type { SimulatedNode } from './node.ts';
import type { SimulatedProcess } from './process.ts';
import type { Fleet, SimulatedServer } from './server.ts';
import type { World } from './world.ts';

export interface FaultyParts {
  fleet: Fleet;
  network: Network;
  nodes: readonly SimulatedNode[];
  invariants: Invariants;
}

export interface Fault {
  name: string;
  weight: number;
  /** It waits for a statement to strike at, and counts itself then; others are counted when chosen. */
  isArmed?: true;
  /** `forMs`: how long it lasts, where the fault has no bounds of its own. */
  act: (parts: FaultyParts, world: World, forMs: number) => void | Promise<void>;
}

/** Mostly one that has containers. `forMs`: the server may not hear it for so long; 0 where it does. */
function pickNode({ nodes, invariants }: FaultyParts, world: World, forMs: number): SimulatedNode {
  const { fault } = world.random;
  const busy = nodes.filter(({ engine }) => engine.containers.size > 0);
  const node = fault.pick(busy.length > 0 && fault.chance(0.75) ? busy : nodes);
  if (forMs === 0) return node;
  const until = invariants.faultyUntilMs.get(node.shape.id) ?? 0;
  invariants.faultyUntilMs.set(node.shape.id, Math.max(until, world.nowMs + forMs));
  return node;
}

function pickServer({ fleet }: FaultyParts, world: World): SimulatedServer {
  return world.random.fault.pick(fleet.servers);
}

export function later(world: World, delayMs: number, what: string, run: () => void | Promise<void>): void {
  world.later(delayMs, { process: null, what, run });
}

export const serverFaults: readonly Fault[] = [
  {
    name: 'server killed',
    weight: 3,
    act(parts, world) {
      const server = pickServer(parts, world);
      server.kill();
      later(world, world.random.fault.between(100, 8_000), `${server.name} starts again`, () => {
        if (server.life === null) server.start();
      });
    },
  },
  {
    name: 'all servers killed',
    weight: 2,
    act({ fleet }, world, forMs) {
      for (const server of fleet.servers) server.kill();
      later(world, forMs, 'all servers start again', () => {
        for (const server of fleet.servers) if (server.life === null) server.start();
      });
    },
  },
  {
    name: 'server paused',
    weight: 3,
    act: (parts, world, forMs) => pauseServer(pickServer(parts, world), world, forMs),
  },
  {
    name: 'leader paused',
    weight: 3,
    act(parts, world, forMs) {
      const leader = parts.fleet.servers.find(({ life }) => life?.scheduler.isLeader);
      if (leader !== undefined) pauseServer(leader, world, forMs);
    },
  },
  {
    name: 'server paused while it holds locks',
    weight: 3,
    isArmed: true,
    act: ({ fleet }, world) =>
      fleet.database.afterNext('lock_runs', (process) => {
        if (process.isPaused) return;
        world.count('fault: server paused while it holds locks');
        pauseProcess(process, world, world.random.fault.between(5_500, 12_000));
      }),
  },
  {
    name: 'all servers paused',
    weight: 2,
    act(parts, world) {
      for (const server of parts.fleet.servers)
        pauseServer(server, world, world.random.fault.between(5_000, 60_000));
    },
  },
  {
    name: 'plan comes late',
    weight: 3,
    isArmed: true,
    act: ({ fleet }, world) =>
      fleet.database.delayNext('write_plan', {
        delayMs: world.random.fault.between(1_000, 15_000),
        onDelayed: () => world.count('fault: plan comes late'),
      }),
  },
  {
    name: 'database away',
    weight: 3,
    async act({ fleet }, world, forMs) {
      await fleet.database.goAway();
      later(world, forMs, 'database back', () => fleet.database.comeBack());
    },
  },
];

function pauseServer({ life }: SimulatedServer, world: World, forMs: number): void {
  if (life !== null) pauseProcess(life.process, world, forMs);
}

function pauseProcess(process: SimulatedProcess, world: World, forMs: number): void {
  if (process.isPaused) return;
  process.pause();
  later(world, forMs, `${process.name} resumes`, () => process.resume());
}

export const agentFaults: readonly Fault[] = [
  {
    name: 'agent killed',
    weight: 4,
    act(parts, world, forMs) {
      restart(pickNode(parts, world, forMs), world, forMs);
    },
  },
  {
    name: 'agent killed, its disk lost',
    weight: 3,
    act(parts, world) {
      const node = pickNode(parts, world, 1_000);
      node.forgetDisk();
      restart(node, world, 1_000);
    },
  },
  {
    name: 'agent restarted orderly',
    weight: 4,
    act(parts, world) {
      const node = pickNode(parts, world, 500);
      node.stopOrderly();
      restart(node, world, 500);
    },
  },
  {
    name: 'agent paused',
    weight: 3,
    act(parts, world, forMs) {
      const { process } = pickNode(parts, world, forMs);
      if (process !== null) pauseProcess(process, world, forMs);
    },
  },
  {
    name: 'machine lost power',
    weight: 2,
    act(parts, world, forMs) {
      const node = pickNode(parts, world, forMs);
      parts.network.block(node.shape.name, ['up', 'down']);
      node.engine.losePower();
      restart(node, world, forMs, () => parts.network.unblock(node.shape.name));
    },
  },
  {
    name: 'wall clock jumped',
    weight: 3,
    act(parts, world) {
      const { time } = pickNode(parts, world, 0);
      time.wallOffsetMs += world.random.fault.between(-20_000, 20_000);
    },
  },
  {
    name: 'GPU stays dirty',
    weight: 2,
    act(parts, world) {
      pickNode(parts, world, 0).gpusDirtyUntilMs = world.nowMs + world.random.fault.between(1_000, 30_000);
    },
  },
];

function restart(node: SimulatedNode, world: World, afterMs: number, then: () => void = () => {}): void {
  node.kill();
  const { process } = node;
  later(world, afterMs, `${node.shape.name} starts again`, () => {
    then();
    if (node.process === process) node.start();
  });
}

export const networkFaults: readonly Fault[] = [
  { name: 'node cut off', weight: 3, act: (...scene) => block(['up', 'down'], ...scene) },
  { name: 'node cannot be heard', weight: 3, act: (...scene) => block(['up'], ...scene) },
  { name: 'node cannot hear', weight: 4, act: (...scene) => block(['down'], ...scene) },
  {
    name: 'connection reset',
    weight: 4,
    act: (parts, world) => void parts.network.cut(pickNode(parts, world, 0).shape.name),
  },
  {
    name: 'node far away',
    weight: 3,
    act(parts, world, forMs) {
      const { name } = pickNode(parts, world, forMs).shape;
      parts.network.slowMs.set(name, world.random.fault.between(50, 2_500));
      later(world, forMs, `${name} is near again`, () => void parts.network.slowMs.delete(name));
    },
  },
  {
    name: 'engine away',
    weight: 3,
    act(parts, world) {
      const forMs = world.random.fault.between(500, 20_000);
      const { engine, shape } = pickNode(parts, world, forMs);
      engine.isAway = true;
      engine.breakWatches();
      later(world, forMs, `engine of ${shape.name} is back`, () => {
        engine.isAway = false;
      });
    },
  },
];

function block(
  directions: readonly ('up' | 'down')[],
  ...[parts, world, forMs]: Parameters<Fault['act']>
): void {
  const { name } = pickNode(parts, world, forMs).shape;
  parts.network.block(name, directions);
  later(world, forMs, `${name} is reached again`, () => parts.network.unblock(name));
}

export const faults: readonly Fault[] = [...serverFaults, ...agentFaults, ...networkFaults];

/** Those that are counted where they happen, by a rate. */
const rateNames = [
  ...['engine call failed', 'engine call hung', 'engine event lost', 'pull failed', 'start failed'],
  ...['KILL without effect', 'removal failed', 'hint lost', 'hint overtaken by later ones', 'message lost'],
  ...['message duplicated', 'message after those of a newer connection', 'statement answer lost'],
  ...['statement slow', 'transaction ended as idle'],
];

/** Every name that a long run must count. */
export const faultNames = [...faults.map(({ name }) => name), ...rateNames].map((name) => `fault: ${name}`);
