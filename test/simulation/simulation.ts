// One seed: a fleet under faults for a while, then calm, and at the end nothing may be left over.

import { openFirstAccount } from '../../src/db/accounts.ts';
import { openCluster } from '../../src/db/cluster.ts';
import { createNode } from '../../src/db/nodes.ts';
import { createVault, nonceBytes } from '../../src/db/vault.ts';
import { createRandomPool } from '../../src/main/random-pool.ts';
import { Calm } from './calm.ts';
import { Consumer } from './consumer.ts';
import { SimulatedDatabase } from './database.ts';
import { FaultMaker } from './fault-maker.ts';
import { Invariants } from './invariants.ts';
import { ChangeFeed, Model } from './model.ts';
import { Network } from './network.ts';
import { SimulatedNode } from './node.ts';
import { Operator } from './operator.ts';
import { type Plot, plotOf } from './plots.ts';
import type { SessionPool } from './postgres.ts';
import { type Fleet, SimulatedServer } from './server.ts';
import { Workload } from './workload.ts';
import { Violation, World } from './world.ts';

export interface SeedOptions {
  seed: number;
  /** Under faults; the calm comes after. */
  steps: number;
  /** Invariants that do not count. */
  ignored?: readonly string[];
}

export interface SeedResult {
  seed: number;
  steps: number;
  simulatedMs: number;
  traceHash: string;
  counts: ReadonlyMap<string, number>;
  violation: { invariant: string; message: string; step: number; recent: readonly string[] } | null;
}

const unseenHangMs = 3_000;
const gigabyte = 1e9;

export async function runSeed(sessions: SessionPool, options: SeedOptions): Promise<SeedResult> {
  const world = new World(options.seed, options.ignored);
  let violation: SeedResult['violation'] = null;
  try {
    const simulation = await Simulation.open(world, sessions, plotOf(options.seed));
    await simulation.run(options.steps);
  } catch (error) {
    const invariant = error instanceof Violation ? error.invariant : 'the simulation itself works';
    const message = error instanceof Violation ? error.message : String((error as Error).stack ?? error);
    violation = { invariant, message, step: world.stepCount, recent: world.recent };
  }
  const { stepCount: steps, nowMs: simulatedMs, counts } = world;
  return { seed: options.seed, steps, simulatedMs, traceHash: world.traceHash(), counts, violation };
}

class Simulation {
  readonly #world: World;
  readonly #plot: Plot;
  readonly #fleet: Fleet;
  readonly #network: Network;
  readonly #nodes: Map<string, SimulatedNode>;
  readonly #model = new Model();
  readonly #invariants: Invariants;
  readonly #consumer: Consumer;
  readonly #sessions: SessionPool;
  readonly #feed: ChangeFeed;

  private constructor(world: World, plot: Plot, sessions: SessionPool, fleet: Fleet) {
    this.#world = world;
    this.#plot = plot;
    this.#sessions = sessions;
    this.#feed = new ChangeFeed(sessions.main);
    this.#fleet = fleet;
    this.#network = new Network(world);
    this.#nodes = new Map();
    this.#invariants = new Invariants(world, this.#model, this.#nodes);
    this.#consumer = new Consumer(fleet);
    this.#network.target = () => this.#pickServer();
    this.#network.onHeard = (heard) => this.#invariants.heard(heard);
    this.#watchDatabase();
  }

  static async open(world: World, sessions: SessionPool, plot: Plot): Promise<Simulation> {
    const sql = sessions.database();
    const vault = createVault({ id: '00000000', key: Buffer.alloc(32, 7) }, createRandomPool(nonceBytes));
    const cluster = await openCluster(sql, { vault, newId: world.newId() });
    const account = await openFirstAccount(sql, { newId: world.newId(), name: 'simulated' });
    const database = new SimulatedDatabase(world, sessions);
    const { leaseMs, lostAfterMs } = plot;
    const shared = { leaseMs, lostAfterMs, servers: [], rates: { hintLost: 0, hintLate: 0 } };
    const nodeIds = new Map<string, string>();
    const fleet: Fleet = { ...shared, world, database, vault, cluster, accountId: account.id, nodeIds };
    const simulation = new Simulation(world, plot, sessions, fleet);
    await simulation.#populate(nodeIds, async (node) => {
      await createNode(sql, { ...node, accountId: account.id, regionCode: null, labels: {} });
    });
    return simulation;
  }

  async #populate(
    nodeIds: Map<string, string>,
    create: (node: { id: string; name: string }) => Promise<void>,
  ): Promise<void> {
    const { work, fault } = this.#world.random;
    const nodeCount = work.pick(this.#plot.work.nodeCounts);
    for (let index = 1; index <= nodeCount; index += 1) {
      const [id, name] = [this.#world.newId(), `node${index}`];
      nodeIds.set(name, id);
      await create({ id, name });
      const shape = { id, name, ...this.#capacity() };
      const time = {
        rate: fault.chance(0.5) ? 1 : fault.between(0.98, 1.02),
        wallOffsetMs: fault.between(-3_000, 3_000),
      };
      const onStart: ConstructorParameters<typeof SimulatedNode>[1]['onStart'] = (node, container) =>
        this.#invariants.starting(node, container);
      this.#nodes.set(id, new SimulatedNode(this.#world, { shape, time, network: this.#network, onStart }));
    }
    for (let index = 1; index <= work.integer(2, 3); index += 1) {
      const time = { rate: fault.chance(0.5) ? 1 : fault.between(0.99, 1.01), wallOffsetMs: 0 };
      this.#fleet.servers.push(new SimulatedServer(this.#fleet, { name: `server${index}`, time }));
    }
  }

  #capacity() {
    const { work } = this.#world.random;
    const [cpuCount, ramBytes, gpuCount] = [
      work.integer(2, 10),
      work.integer(4, 24) * gigabyte,
      work.pick([0, 1, 1, 2, 3]),
    ];
    const stopWhenCutOffMs = work.chance(0.25) ? work.integer(8_000, 20_000) : null;
    return { cpuCount, ramBytes, gpuCount, storageBytes: 500 * gigabyte, stopWhenCutOffMs };
  }

  async run(steps: number): Promise<void> {
    const world = this.#world;
    await this.#readChanges();
    for (const server of this.#fleet.servers) server.start();
    for (const node of this.#nodes.values()) node.start();
    const nodes = [...this.#nodes.values()];
    const parts = { fleet: this.#fleet, network: this.#network, nodes, invariants: this.#invariants };
    const faults = new FaultMaker(parts, world, this.#plot.faults);
    const operator = new Operator(this.#fleet);
    const work = new Workload(world, this.#plot.work, { consumer: this.#consumer, operator });
    this.#invariants.onCell = (jobId, cell) => work.seen(jobId, cell);
    while (world.stepCount < steps && (await world.step()));
    faults.end();
    work.end();
    operator.uncordonAll();
    const { main: session } = this.#sessions;
    await new Calm({ ...parts, world, model: this.#model, consumer: this.#consumer, session }).run();
  }

  #pickServer() {
    const listening = this.#fleet.servers.filter((server) => server.isListening);
    if (listening.length === 0) return null;
    // As a balancer that looks after its servers: one that hangs gets nobody, once that is seen.
    const healthy = listening.filter(({ life }) => (life?.process.pausedForMs ?? 0) < unseenHangMs);
    const server = this.#world.random.fault.pick(healthy.length > 0 ? healthy : listening);
    const process = server.life?.process;
    if (process === undefined) return null;
    return { process, accept: server.accept.bind(server) };
  }

  #watchDatabase(): void {
    this.#fleet.database.onWritten = () => this.#readChanges();
    this.#fleet.database.onExecuted = async ({ name, values, rows }) => {
      if (name === 'write_plan' && rows.length > 0) await this.#checkLeader(values);
    };
  }

  async #readChanges(): Promise<void> {
    const changes = await this.#feed.read(this.#fleet.database.openTransactionCount);
    if (changes.length > 0) this.#invariants.applyCommit(changes);
  }

  /** The statement that wrote a plan named a leader, and that was the one. */
  async #checkLeader([name, holder, epoch]: readonly unknown[]): Promise<void> {
    const rows = await this.#sessions.main.query(
      {
        name: 'simulation_leader',
        text: 'select holder, epoch, expires_at > flotilla_now() as is_leader from leaderships where name = $1',
      },
      [name],
    );
    const [row] = rows;
    if (row?.holder === holder && row?.epoch === epoch && row?.is_leader === true) return;
    this.#world.violate(
      'only the leader plans',
      `epoch ${epoch} of ${holder} wrote, the row says ${JSON.stringify(row)}`,
    );
  }
}
