// What the agent remembers of its cluster over its own restarts, by which a restored database is told from the real one.
//
// The runs of the last order that brought new ones are enough: a database that was restored to before an earlier order
// has lost this one too.
import type { AgentLog } from './log.ts';
import type { StateFile } from './state-file.ts';

interface Memory {
  clusterUuid: string;
  /** The highest generation the cluster has shown. */
  generation: number;
  orders: readonly string[];
}

/** Runs placed in one go on one node; of more the newest are kept. */
const maxOrders = 200;

export class ClusterMemory {
  readonly #file: StateFile;
  readonly #log: AgentLog;
  /** Runs that were ordered in this life of the agent, so that only new ones are written down. */
  readonly #ordered = new Set<string>();
  #memory: Memory | null;

  constructor(file: StateFile, log: AgentLog) {
    this.#file = file;
    this.#log = log;
    this.#memory = readMemory(file);
    for (const runUuid of this.#memory?.orders ?? []) this.#ordered.add(runUuid);
  }

  /** The cluster of the last welcome; null before the first. */
  get clusterUuid(): string | null {
    return this.#memory?.clusterUuid ?? null;
  }

  hello(): { cluster_generation: number; last_orders: string[] } {
    const { generation = 0, orders = [] } = this.#memory ?? {};
    return { cluster_generation: generation, last_orders: [...orders] };
  }

  welcome(clusterUuid: string, generation: number): void {
    const known = this.#memory?.clusterUuid === clusterUuid ? this.#memory : null;
    if (known !== null && known.generation >= generation) return;
    this.#write({ clusterUuid, generation, orders: known?.orders ?? [] });
  }

  /** The server named these runs. */
  order(runUuids: readonly string[]): void {
    const fresh = runUuids.filter((runUuid) => !this.#ordered.has(runUuid));
    if (fresh.length === 0 || this.#memory === null) return;
    for (const runUuid of fresh) this.#ordered.add(runUuid);
    // Ids of runs rise with time.
    this.#write({ ...this.#memory, orders: fresh.toSorted().slice(-maxOrders) });
  }

  /** A crash of the machine ends the containers too, so the disk is not waited for; a full one must not stop the work. */
  #write(memory: Memory): void {
    this.#memory = memory;
    try {
      this.#file.write(memory, { isFlushed: false });
    } catch (error) {
      this.#log.warn({ reason: String(error) }, 'what the cluster ordered could not be written down');
    }
  }
}

function readMemory(file: StateFile): Memory | null {
  const reading = file.read();
  if (reading === null || reading === 'unreadable') return null;
  const { clusterUuid, generation, orders } = (reading.content ?? {}) as Partial<Memory>;
  if (typeof clusterUuid !== 'string' || typeof generation !== 'number' || !Array.isArray(orders))
    return null;
  return { clusterUuid, generation, orders };
}
