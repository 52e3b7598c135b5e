// The faults of a chaos run: what each does to the place, for how long, and how it is healed.
import { setTimeout as sleep } from 'node:timers/promises';
import { findProcessesIn } from '../../src/embedded/process-table.ts';
import { askEngine, callEngine } from './engine.ts';
import type { ChaosNode } from './node.ts';
import { leaderOf, type Place } from './place.ts';
import type { Random } from './random.ts';

/** One disturbance under way or over. Times are epoch milliseconds. */
export interface Fault {
  kind: FaultKind;
  target: string;
  fromMs: number;
  /** Null while it lasts. */
  toMs: number | null;
}

/** `busy`: names of what must not be disturbed by another fault meanwhile. */
interface Disturbance {
  target: string;
  begin(): Promise<void> | void;
  lastMs: number;
  end(): Promise<void> | void;
}

type Draw = (
  place: Place,
  random: Random,
  isFree: (target: string) => boolean,
) => Promise<Disturbance | null>;

const seconds = (random: Random, from: number, to: number) => 1_000 * (from + random.next() * (to - from));

function freeOf<T>(random: Random, items: readonly T[], isFree: (item: T) => boolean): T | null {
  const free = items.filter(isFree);
  return free.length === 0 ? null : random.pick(free);
}

/** Killed, left dead for a while, started again. */
function killing(daemon: ChaosNode['agent'], lastMs: number): Disturbance {
  return {
    target: daemon.name,
    begin: () => daemon.kill(),
    lastMs,
    end: () => daemon.start(),
  };
}

function freezing(daemon: ChaosNode['agent'], lastMs: number): Disturbance {
  return {
    target: daemon.name,
    begin: () => daemon.freeze(),
    lastMs,
    end: () => daemon.thaw(),
  };
}

/** The disturbances by kind. Pauses of a leader outlast its lease of 5 s; long cuts outlast a node's 15 s, and its loss. */
const draws = {
  server_kill: async ({ servers }, random, isFree) => {
    const server = freeOf(random, servers, ({ daemon }) => isFree(daemon.name));
    return server && killing(server.daemon, seconds(random, 0.1, 3));
  },
  leader_kill: async (place, random, isFree) => {
    const leader = await leaderOf(place);
    return leader && isFree(leader.daemon.name) ? killing(leader.daemon, seconds(random, 0.1, 3)) : null;
  },
  server_pause: async ({ servers }, random, isFree) => {
    const server = freeOf(random, servers, ({ daemon }) => isFree(daemon.name));
    return server && freezing(server.daemon, seconds(random, 1, 6));
  },
  leader_pause: async (place, random, isFree) => {
    const leader = await leaderOf(place);
    return leader && isFree(leader.daemon.name) ? freezing(leader.daemon, seconds(random, 5.5, 9)) : null;
  },
  agent_kill: async ({ nodes }, random, isFree) => {
    const node = freeOf(random, nodes, ({ agent }) => isFree(agent.name));
    return node && killing(node.agent, seconds(random, 0.1, 4));
  },
  agent_pause: async ({ nodes }, random, isFree) => {
    const node = freeOf(random, nodes, ({ agent }) => isFree(agent.name));
    return node && freezing(node.agent, random.chance(0.3) ? seconds(random, 16, 22) : seconds(random, 1, 8));
  },
  dockerd_kill_live_restore: (place, random, isFree) =>
    killEngine(place, random, { isFree, hasLiveRestore: true }),
  dockerd_kill: (place, random, isFree) => killEngine(place, random, { isFree, hasLiveRestore: false }),
  docker_hang: async ({ nodes }, random, isFree) => {
    const node = freeOf(random, nodes, ({ engine }) => isFree(engine.name));
    return (
      node && freezing(node.engine, random.chance(0.3) ? seconds(random, 16, 22) : seconds(random, 1, 8))
    );
  },
  container_kill: async ({ nodes }, random, isFree) => {
    const node = freeOf(random, nodes, ({ number }) => isFree(`container-${number}`));
    const containerId = node && (await anyContainer(node, random));
    if (node === null || containerId === null) return null;
    const isRemoval = random.chance(0.5);
    return {
      target: `container-${node.number}`,
      begin: () => endContainer(node, containerId, isRemoval),
      lastMs: 0,
      end: () => {},
    };
  },
  postgres_kill: async (place, _random, isFree) => {
    if (!isFree('postgres')) return null;
    return {
      target: 'postgres',
      begin: () => signalAll(postgresPids(place), 'SIGKILL'),
      lastMs: 3_000,
      end: () => {},
    };
  },
  backend_kill: async (place, random, isFree) => {
    if (!isFree('postgres')) return null;
    return {
      target: 'postgres',
      begin: () => signalAll(backendPids(place, random, 0).slice(0, 1), 'SIGKILL'),
      lastMs: 3_000,
      end: () => {},
    };
  },
  postgres_pause: async (place, random, isFree) => {
    if (!isFree('postgres')) return null;
    const part = random.pick([0.3, 0.7, 1]);
    return {
      target: 'postgres',
      begin: () => signalAll(backendPids(place, random, part), 'SIGSTOP'),
      lastMs: seconds(random, 1, 7),
      end: () => signalAll(postgresPids(place), 'SIGCONT'),
    };
  },
  link_cut: (place, random, isFree) => cutLink(place, random, { isFree, how: 'both' }),
  link_half_cut: (place, random, isFree) =>
    cutLink(place, random, { isFree, how: random.pick(['towards_node', 'towards_servers'] as const) }),
} satisfies Record<string, Draw>;

export type FaultKind = keyof typeof draws;
export const faultKinds = Object.keys(draws) as FaultKind[];

async function killEngine(
  { nodes }: Place,
  random: Random,
  { isFree, hasLiveRestore }: { isFree: (target: string) => boolean; hasLiveRestore: boolean },
): Promise<Disturbance | null> {
  const node = freeOf(random, nodes, (it) => it.hasLiveRestore === hasLiveRestore && isFree(it.engine.name));
  return node && killing(node.engine, seconds(random, 0.1, 3));
}

/** One that runs now; null when none does. */
async function anyContainer({ socketPath }: ChaosNode, random: Random): Promise<string | null> {
  const running = await askEngine<{ Id: string }[]>(socketPath, '/containers/json');
  return running.length === 0 ? null : random.pick(running).Id;
}

/** Past its agent, by an operator's hand. */
async function endContainer({ socketPath }: ChaosNode, id: string, isRemoval: boolean): Promise<void> {
  const done = isRemoval
    ? callEngine(socketPath, 'DELETE', `/containers/${id}?force=1`)
    : callEngine(socketPath, 'POST', `/containers/${id}/kill`);
  // It may have ended by itself, or its engine hangs.
  await done.catch(() => {});
}

async function cutLink(
  { nodes }: Place,
  random: Random,
  { isFree, how }: { isFree: (target: string) => boolean; how: Parameters<ChaosNode['link']['cut']>[0] },
): Promise<Disturbance | null> {
  const node = freeOf(random, nodes, ({ number }) => isFree(`link-${number}`));
  if (node === null) return null;
  return {
    target: `link-${node.number}`,
    begin: () => node.link.cut(how),
    lastMs: random.chance(0.4) ? seconds(random, 18, 40) : seconds(random, 1, 10),
    end: () => node.link.mend(),
  };
}

function postgresPids({ postgres }: Place): number[] {
  return findProcessesIn([postgres.dataFolder]).map(({ pid }) => pid);
}

/** `part` of the processes besides the main one, drawn by chance; at least one of them. */
function backendPids(place: Place, random: Random, part: number): number[] {
  const main = place.postgres.main.pid();
  const others = random.shuffle(postgresPids(place).filter((pid) => pid !== main));
  return others.slice(0, Math.max(1, Math.round(others.length * part)));
}

function signalAll(pids: readonly number[], signal: NodeJS.Signals): void {
  for (const pid of pids) {
    try {
      process.kill(pid, signal);
    } catch {
      // It ended by itself.
    }
  }
}

const drawTries = 40;
const drawPauseMs = 500;

/** Brings faults upon a place, round after round with every kind in each, until it is told to heal. */
export class Faults {
  readonly past: Fault[] = [];
  readonly #place: Place;
  readonly #random: Random;
  readonly #current = new Map<string, Disturbance>();
  readonly #underWay = new Set<Promise<void>>();
  readonly #stop = new AbortController();

  constructor(place: Place, random: Random) {
    this.#place = place;
    this.#random = random;
  }

  count(kind: FaultKind): number {
    return this.past.filter((fault) => fault.kind === kind).length;
  }

  /** Every kind once in `roundMs`, in an order drawn anew, at even pauses. */
  async run(roundMs: number): Promise<void> {
    const pauseMs = roundMs / faultKinds.length;
    while (!this.#stop.signal.aborted) {
      for (const kind of this.#random.shuffle(faultKinds)) {
        if (this.#stop.signal.aborted) return;
        const fault: Promise<void> = this.#strike(kind).finally(() => this.#underWay.delete(fault));
        this.#underWay.add(fault);
        await this.#pause(pauseMs);
      }
    }
  }

  /** No new fault; those under way end now. */
  async heal(): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#underWay);
  }

  async #strike(kind: FaultKind): Promise<void> {
    const disturbance = await this.#draw(kind);
    if (disturbance === null) return;
    const { target } = disturbance;
    const fault: Fault = { kind, target, fromMs: Date.now(), toMs: null };
    this.past.push(fault);
    try {
      await disturbance.begin();
      await this.#pause(disturbance.lastMs);
      await disturbance.end();
    } finally {
      fault.toMs = Date.now();
      this.#current.delete(target);
    }
  }

  /** Waits for a target that no other fault holds. */
  async #draw(kind: FaultKind): Promise<Disturbance | null> {
    for (let tries = 0; tries < drawTries && !this.#stop.signal.aborted; tries += 1) {
      const isFree = (target: string) => !this.#current.has(target);
      const drawn = await draws[kind](this.#place, this.#random, isFree).catch(() => null);
      if (drawn !== null && isFree(drawn.target)) {
        this.#current.set(drawn.target, drawn);
        return drawn;
      }
      await this.#pause(drawPauseMs);
    }
    return null;
  }

  async #pause(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.#stop.signal }).catch(() => {});
  }
}
