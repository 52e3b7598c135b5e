// Faults by the seed: how often what breaks and for how long; and their end.
import { type EngineRates, noEngineFaults } from './engine.ts';
import {
  agentFaults,
  type Fault,
  type FaultyParts,
  faults,
  later,
  networkFaults,
  serverFaults,
} from './faults.ts';
import type { Random } from './random.ts';
import type { World } from './world.ts';

export interface FaultStyle {
  kinds: readonly Fault[];
  everyMs: readonly number[];
  forMs: (fault: Random) => number;
  /** So many at once, and the next when one is over; null: by chance. */
  atOnce: ((nodeCount: number) => number) | null;
  /** Statements of any kind fail or are slow; whoever leads ends its term with the first that fails. */
  hasBadDatabase: boolean;
}

const shortOrLong = (longShare: number) => (fault: Random) =>
  fault.chance(longShare) ? fault.between(18_000, 60_000) : fault.between(200, 15_000);

const nodeFaults = [...agentFaults, ...networkFaults];
const silences = [
  'node cut off',
  'node cannot be heard',
  'agent killed',
  'agent paused',
  'machine lost power',
];
const planFaults = ['plan comes late', 'leader paused', 'server killed'];
const lockFaults = ['server paused while it holds locks'];
const usual = { everyMs: [400, 800, 2_000], atOnce: null, hasBadDatabase: true };

export const everything: FaultStyle = { ...usual, kinds: faults, forMs: shortOrLong(0.1) };
export const ofServers: FaultStyle = { ...usual, kinds: serverFaults, forMs: shortOrLong(0.3) };
export const ofNodes: FaultStyle = { ...usual, kinds: nodeFaults, forMs: shortOrLong(0.1) };
/** Plans that arrive when another planner has long written its own. */
export const ofPlans: FaultStyle = {
  ...{ ...usual, kinds: serverFaults.filter(({ name }) => planFaults.includes(name)), everyMs: [400, 800] },
  forMs: shortOrLong(0.1),
};
/** Servers that fall silent in the middle of a transaction, until PostgreSQL ends it. */
export const ofLocks: FaultStyle = {
  ...{
    ...usual,
    kinds: serverFaults.filter(({ name }) => lockFaults.includes(name)),
    everyMs: [2_000, 5_000],
  },
  forMs: shortOrLong(0.1),
};
export const few: FaultStyle = {
  ...{ ...usual, kinds: faults, everyMs: [800, 2_500] },
  forMs: (fault) => fault.between(200, 4_000),
};
/** Nodes are silent for about as long as makes them lost; more of them at once would be taken for our own fault. */
export const ofSilence: FaultStyle = {
  kinds: nodeFaults.filter(({ name }) => silences.includes(name)),
  everyMs: [300, 1_000],
  forMs: (fault) => fault.between(4_000, 11_000),
  atOnce: (nodeCount) => Math.max(1, Math.floor(nodeCount * 0.3)),
  hasBadDatabase: false,
};

/** Agents that start again and again, and must first see what is there. */
export const ofAgents: FaultStyle = {
  ...{ ...usual, kinds: agentFaults, everyMs: [300, 800], hasBadDatabase: false },
  forMs: (fault) => fault.between(100, 1_500),
};

export class FaultMaker {
  readonly #parts: FaultyParts;
  readonly #world: World;
  readonly #style: FaultStyle;
  readonly #chosen: readonly { weight: number; value: Fault }[];
  #isOver = false;

  /** Each seed leaves out some faults and has some more often, so that seeds of one style differ too. */
  constructor(parts: FaultyParts, world: World, style: FaultStyle) {
    this.#parts = parts;
    this.#world = world;
    this.#style = style;
    const { fault } = world.random;
    const weightOf = ({ weight }: Fault) => weight * fault.pick([0, 1, 1, 2]);
    const weighted = style.kinds.map((value) => ({ weight: weightOf(value), value }));
    this.#chosen = weighted.filter(({ weight }) => weight > 0);
    this.#setRates();
    if (this.#chosen.length === 0) return;
    const meanMs = fault.pick(style.everyMs);
    for (let count = style.atOnce?.(parts.nodes.length) ?? 1; count > 0; count -= 1) this.#plan(meanMs, 0);
  }

  #setRates(): void {
    const { fault } = this.#world.random;
    const rate = (most: number) => (fault.chance(0.4) ? 0 : fault.between(0, most));
    const engine: EngineRates = {
      ...{ callFails: rate(0.02), answerLost: rate(0.02), pullFails: rate(0.3), startFails: rate(0.3) },
      ...{ killIgnored: fault.between(0, 0.6), removeFails: rate(0.4), eventLost: rate(0.9) },
    };
    for (const node of this.#parts.nodes) node.engine.rates = engine;
    const { database, rates } = this.#parts.fleet;
    const most = this.#style.hasBadDatabase ? 0.004 : 0;
    Object.assign(database.rates, { answerLost: rate(most), slow: rate(most) });
    Object.assign(rates, { hintLost: rate(0.5), hintLate: rate(0.3) });
    this.#parts.network.rates.duplicate = rate(0.1);
  }

  /** `lastMs`: what is waited for before. */
  #plan(meanMs: number, lastMs: number): void {
    const { fault } = this.#world.random;
    later(this.#world, lastMs + fault.waitMs(meanMs), 'fault', async () => {
      if (this.#isOver) return;
      const { name, act, isArmed } = fault.weighted(this.#chosen);
      const forMs = this.#style.forMs(fault);
      if (!isArmed) this.#world.count(`fault: ${name}`);
      this.#world.note(`FAULT ${name}`);
      await act(this.#parts, this.#world, forMs);
      this.#plan(meanMs, this.#style.atOnce === null ? 0 : forMs);
    });
  }

  /** No new fault, and those at work end now. */
  end(): void {
    this.#isOver = true;
    const { fleet, nodes, network } = this.#parts;
    fleet.database.comeBack();
    fleet.database.disarm();
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
