// A simulated replica: the real hub, scheduler and submit over a simulated clock, network and way to the database.
import { pino } from 'pino';
import type { Cluster } from '../../src/db/cluster.ts';
import type { Database } from '../../src/db/database.ts';
import type { Hint, Hints } from '../../src/db/hints.ts';
import { createJobSubmitter, type JobSubmitter } from '../../src/db/job-submit.ts';
import type { Vault } from '../../src/db/vault.ts';
import { Hub } from '../../src/hub/hub.ts';
import { Scheduler } from '../../src/scheduler/loop.ts';
import type { SimulatedDatabase } from './database.ts';
import type { SimulatedSocket } from './network.ts';
import { type MachineTime, SimulatedProcess } from './process.ts';
import type { World } from './world.ts';

export interface Fleet {
  world: World;
  database: SimulatedDatabase;
  vault: Vault;
  cluster: Cluster;
  accountId: string;
  leaseMs: number;
  lostAfterMs: number;
  nodeIds: ReadonlyMap<string, string>;
  servers: SimulatedServer[];
  /** Of hints between replicas. */
  rates: { hintLost: number; hintLate: number };
}

const gatherMs = 10;

/** What exists while the server's process lives. */
interface Life {
  process: SimulatedProcess;
  replicaId: string;
  database: Database;
  hints: SimulatedHints;
  hub: Hub;
  scheduler: Scheduler;
  submitter: JobSubmitter;
}

export class SimulatedServer {
  readonly name: string;
  readonly #fleet: Fleet;
  readonly #time: MachineTime;
  #lives = 0;
  life: Life | null = null;

  constructor(fleet: Fleet, options: { name: string; time: MachineTime }) {
    this.#fleet = fleet;
    this.name = options.name;
    this.#time = options.time;
  }

  start(): void {
    const { world, vault, cluster, leaseMs, lostAfterMs } = this.#fleet;
    this.#lives += 1;
    const process = new SimulatedProcess(world, { name: `${this.name}/${this.#lives}`, time: this.#time });
    const replicaId = world.newId();
    const database = this.#fleet.database.connect(process);
    const hints = new SimulatedHints(this.#fleet, process);
    const log = pino(
      { level: 'warn', base: null, timestamp: false },
      { write: (line) => world.remark(`${process.name} ${line.slice(0, 600).trim()}`) },
    );
    const monotonicNow = () => process.clock.nowMs();
    const shared = { database, vault, hints, log, monotonicNow, timers: process.clock };
    const authenticate = () => Promise.reject(new Error('The simulation dials past the door.'));
    const hub = new Hub({ ...shared, cluster, authenticate, leaseMs });
    const tokens = { newId: () => world.newId(), newToken: (length: number) => world.random.id.hex(length) };
    const scheduler = new Scheduler({ ...shared, ...tokens, replicaId, lostAfterMs });
    const submitter = createJobSubmitter(database, vault);
    this.life = { process, replicaId, database, hints, hub, scheduler, submitter };
    scheduler.start();
  }

  get isListening(): boolean {
    return this.life?.process.isAlive === true;
  }

  accept(socket: SimulatedSocket, nodeName: string): void {
    const nodeId = this.#fleet.nodeIds.get(nodeName) ?? '';
    const stream = { cork: () => {}, uncork: () => {} };
    this.life?.hub.accept(socket, stream, { nodeId, accountId: this.#fleet.accountId, publicKey: nodeId });
  }

  kill(): void {
    this.life?.process.kill();
    this.life = null;
  }
}

/** As src/db/hints.ts: told here at once, to the others a little later, once for all of a moment, or never. */
class SimulatedHints implements Hints {
  readonly #fleet: Fleet;
  readonly #process: SimulatedProcess;
  readonly #listeners = new Set<(hint: Hint) => void>();
  readonly #waiting = new Map<string, Hint>();

  constructor(fleet: Fleet, process: SimulatedProcess) {
    this.#fleet = fleet;
    this.#process = process;
  }

  publish(hint: Hint): void {
    this.receive(hint);
    if (this.#waiting.size === 0) this.#process.clock.after(gatherMs, () => this.#flush());
    this.#waiting.set(JSON.stringify(hint), hint);
  }

  subscribe(listener: (hint: Hint) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async close(): Promise<void> {}

  receive(hint: Hint): void {
    for (const listener of this.#listeners) listener(hint);
  }

  #flush(): void {
    const hints = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const { life } of this.#fleet.servers)
      if (life !== null && life.process !== this.#process) this.#carry(hints, life);
  }

  #carry(hints: readonly Hint[], to: Life): void {
    const { world, rates } = this.#fleet;
    const { fault, latency } = world.random;
    if (fault.chance(rates.hintLost)) {
      world.count('fault: hint lost');
      return;
    }
    const isLate = fault.chance(rates.hintLate);
    if (isLate) world.count('fault: hint overtaken by later ones');
    world.later(isLate ? latency.between(100, 3_000) : latency.between(0.2, 3), {
      process: to.process,
      what: `hints ${hints.map(({ kind }) => kind).join(' ')}`,
      run: () => {
        for (const hint of hints) to.hints.receive(hint);
      },
    });
  }
}
