// Faults by the seed: what breaks, how often and for how long; and their end.
import { type EngineRates, noEngineFaults } from './engine.ts';
import type { Invariants } from './invariants.ts';
import type { Network } from './network.ts';
import type { SimulatedNode } from './node.ts';
import type { Fleet, SimulatedServer } from './server.ts';
import type { World } from './world.ts';

export interface FaultyParts {
  fleet: Fleet;
  network: Network;
  nodes: readonly SimulatedNode[];
  invariants: Invariants;
}

interface Fault {
  name: string;
  weight: number;
  act: (parts: FaultyParts, world: World) => void | Promise<void>;
}

/** By world: how often a fault lasts so long that its node counts as lost. */
const longShares = new WeakMap<World, number>();

function durationMs(world: World): number {
  const { fault } = world.random;
  return fault.chance(longShares.get(world) ?? 0)
    ? fault.between(18_000, 60_000)
    : fault.between(200, 15_000);
}

/** `forMs`: the server may not hear it for so long; 0 where it does. */
function pickNode({ nodes, invariants }: FaultyParts, world: World, forMs: number): SimulatedNode {
  const node = world.random.fault.pick(nodes);
  if (forMs === 0) return node;
  const until = invariants.faultyUntilMs.get(node.shape.id) ?? 0;
  invariants.faultyUntilMs.set(node.shape.id, Math.max(until, world.nowMs + forMs));
  return node;
}

function pickServer({ fleet }: FaultyParts, world: World): SimulatedServer {
  return world.random.fault.pick(fleet.servers);
}

function later(world: World, delayMs: number, what: string, run: () => void | Promise<void>): void {
  world.later(delayMs, { process: null, what, run });
}

const serverFaults: Fault[] = [
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
    weight: 1,
    act({ fleet }, world) {
      for (const server of fleet.servers) server.kill();
      later(world, durationMs(world), 'all servers start again', () => {
        for (const server of fleet.servers) if (server.life === null) server.start();
      });
    },
  },
  { name: 'server paused', weight: 4, act: (parts, world) => pauseServer(pickServer(parts, world), world) },
  {
    name: 'leader paused',
    weight: 3,
    act(parts, world) {
      const leader = parts.fleet.servers.find(({ life }) => life?.scheduler.isLeader);
      if (leader !== undefined) pauseServer(leader, world);
    },
  },
  {
    name: 'all servers paused',
    weight: 1,
    act(parts, world) {
      for (const server of parts.fleet.servers)
        pauseServer(server, world, world.random.fault.between(5_000, 60_000));
    },
  },
  {
    name: 'plan comes late',
    weight: 3,
    act: ({ fleet }, world) =>
      fleet.database.delayNext('write_plan', world.random.fault.between(1_000, 15_000)),
  },
  {
    name: 'database away',
    weight: 2,
    async act({ fleet }, world) {
      await fleet.database.goAway();
      later(world, durationMs(world), 'database back', () => fleet.database.comeBack());
    },
  },
];

function pauseServer({ life, name }: SimulatedServer, world: World, forMs = durationMs(world)): void {
  if (life === null || life.process.isPaused) return;
  const { process } = life;
  process.pause();
  later(world, forMs, `${name} resumes`, () => process.resume());
}

const agentFaults: Fault[] = [
  {
    name: 'agent killed',
    weight: 4,
    act(parts, world) {
      const awayMs = durationMs(world);
      restart(pickNode(parts, world, awayMs), world, awayMs);
    },
  },
  {
    name: 'agent killed, its disk lost',
    weight: 2,
    act(parts, world) {
      const node = pickNode(parts, world, 1_000);
      node.forgetDisk();
      restart(node, world, 1_000);
    },
  },
  {
    name: 'agent restarted orderly',
    weight: 1,
    act(parts, world) {
      const node = pickNode(parts, world, 500);
      node.stopOrderly();
      restart(node, world, 500);
    },
  },
  {
    name: 'agent paused',
    weight: 4,
    act(parts, world) {
      const forMs = durationMs(world);
      const { process, shape } = pickNode(parts, world, forMs);
      if (process === null || process.isPaused) return;
      process.pause();
      later(world, forMs, `${shape.name} resumes`, () => process.resume());
    },
  },
  {
    name: 'machine lost power',
    weight: 2,
    act(parts, world) {
      const awayMs = durationMs(world);
      const node = pickNode(parts, world, awayMs);
      parts.network.block(node.shape.name, ['up', 'down']);
      node.engine.losePower();
      restart(node, world, awayMs, () => parts.network.unblock(node.shape.name));
    },
  },
  {
    name: 'wall clock jumped',
    weight: 2,
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

const networkFaults: Fault[] = [
  { name: 'node cut off', weight: 3, act: (parts, world) => block(parts, world, ['up', 'down']) },
  { name: 'node cannot be heard', weight: 2, act: (parts, world) => block(parts, world, ['up']) },
  { name: 'node cannot hear', weight: 2, act: (parts, world) => block(parts, world, ['down']) },
  {
    name: 'connection reset',
    weight: 4,
    act: (parts, world) => void parts.network.cut(pickNode(parts, world, 0).shape.name),
  },
  {
    name: 'node far away',
    weight: 2,
    act(parts, world) {
      const forMs = durationMs(world);
      const { name } = pickNode(parts, world, forMs).shape;
      parts.network.slowMs.set(name, world.random.fault.between(50, 2_500));
      later(world, forMs, `${name} is near again`, () => void parts.network.slowMs.delete(name));
    },
  },
  {
    name: 'engine away',
    weight: 2,
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

function block(parts: FaultyParts, world: World, directions: readonly ('up' | 'down')[]): void {
  const forMs = durationMs(world);
  const { name } = pickNode(parts, world, forMs).shape;
  parts.network.block(name, directions);
  later(world, forMs, `${name} is reached again`, () => parts.network.unblock(name));
}

const faults: readonly Fault[] = [...serverFaults, ...agentFaults, ...networkFaults];
/** Every name that a long run must count. */
export const faultNames = faults.map(({ name }) => `fault: ${name}`);

/** Seeds differ in kind: a leader that changes often gives every node a new lease, and none is ever lost. */
const nodeFaults = [...agentFaults, ...networkFaults];
const characters = [
  { kinds: faults, longShare: 0.1 },
  { kinds: serverFaults, longShare: 0.3 },
  { kinds: nodeFaults, longShare: 0.1 },
  { kinds: nodeFaults, longShare: 0.7 },
];

export class FaultMaker {
  readonly #parts: FaultyParts;
  readonly #world: World;
  readonly #chosen: readonly { weight: number; value: Fault }[];
  #isOver = false;

  /** Each seed leaves out some faults and has some more often, so that seeds differ in kind. */
  constructor(parts: FaultyParts, world: World) {
    this.#parts = parts;
    this.#world = world;
    const { fault } = world.random;
    const { kinds, longShare } = fault.pick(characters);
    const weighted = kinds.map((value) => ({ weight: value.weight * fault.pick([0, 0.5, 1, 1, 2]), value }));
    this.#chosen = weighted.filter(({ weight }) => weight > 0);
    longShares.set(world, longShare);
    this.#setRates();
    this.#plan(fault.pick([600, 1_200, 5_000]));
  }

  #setRates(): void {
    const { fault } = this.#world.random;
    const rate = (most: number) => (fault.chance(0.4) ? 0 : fault.between(0, most));
    const engine: EngineRates = {
      ...{ callFails: rate(0.02), answerLost: rate(0.02), pullFails: rate(0.3), startFails: rate(0.3) },
      ...{ killIgnored: rate(0.8), removeFails: rate(0.4), eventLost: rate(0.9) },
    };
    for (const node of this.#parts.nodes) node.engine.rates = engine;
    const { database, rates } = this.#parts.fleet;
    Object.assign(database.rates, { answerLost: rate(0.004), slow: rate(0.004) });
    Object.assign(rates, { hintLost: rate(0.5), hintLate: rate(0.3) });
    this.#parts.network.rates.duplicate = rate(0.1);
  }

  #plan(meanMs: number): void {
    later(this.#world, this.#world.random.fault.waitMs(meanMs), 'fault', async () => {
      if (this.#isOver) return;
      const { name, act } = this.#world.random.fault.weighted(this.#chosen);
      this.#world.count(`fault: ${name}`);
      this.#world.note(`FAULT ${name}`);
      await act(this.#parts, this.#world);
      this.#plan(meanMs);
    });
  }

  /** No new fault, and those at work end now. */
  end(): void {
    this.#isOver = true;
    const { fleet, nodes, network } = this.#parts;
    fleet.database.comeBack();
    Object.assign(fleet.database.rates, { answerLost: 0, slow: 0 });
    Object.assign(fleet.rates, { hintLost: 0, hintLate: 0 });
    network.rates.duplicate = 0;
    network.slowMs.clear();
    for (const server of fleet.servers) {
      if (server.life === null) server.start();
      else if (server.life.process.isPaused) server.life.process.resume();
    }
    for (const node of nodes) {
      node.engine.rates = noEngineFaults;
      node.engine.isAway = false;
      node.gpusDirtyUntilMs = 0;
      network.unblock(node.shape.name);
      if (node.process?.isAlive !== true) node.start();
      else if (node.process.isPaused) node.process.resume();
    }
  }
}
