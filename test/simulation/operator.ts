// The operator: cordons nodes, drains them, and takes them back into service.
import { cordonNode, drainNode, uncordonNode } from '../../src/db/node-maintenance.ts';
import type { Fleet } from './server.ts';

export class Operator {
  readonly #fleet: Fleet;

  constructor(fleet: Fleet) {
    this.#fleet = fleet;
  }

  /** One change of one node, by any living server; or for a while of all, which `closeShare` says how often. */
  act(closeShare: number): void {
    const { world, nodeIds } = this.#fleet;
    const { work } = world.random;
    if (work.chance(closeShare)) {
      this.#closeAll();
      return;
    }
    const kind = work.pick(['cordon', 'uncordon', 'uncordon', 'drain'] as const);
    this.#change(kind, work.pick([...nodeIds.values()]), work.integer(0, 8_000));
  }

  /** Maintenance: for a while no node takes work. */
  #closeAll(): void {
    const { world, nodeIds } = this.#fleet;
    for (const nodeId of nodeIds.values()) this.#change('cordon', nodeId, 0);
    const run = () => this.uncordonAll();
    world.later(world.random.work.between(2_000, 8_000), { process: null, what: 'maintenance ends', run });
  }

  /** Every node takes work again. */
  uncordonAll(): void {
    for (const nodeId of this.#fleet.nodeIds.values()) this.#change('uncordon', nodeId, 0);
  }

  #change(kind: 'cordon' | 'uncordon' | 'drain', nodeId: string, deadlineMs: number): void {
    const { world, accountId, servers } = this.#fleet;
    const life = servers.find(({ life: it }) => it !== null && !it.process.isPaused)?.life ?? null;
    if (life === null) return;
    world.count(`operator: ${kind}`);
    const change = { nodeId, accountId, actor: { kind: 'key' }, reason: 'simulated', deadlineMs };
    const write = { cordon: cordonNode, uncordon: uncordonNode, drain: drainNode }[kind];
    life.database
      .transaction((sql) => write(sql, change))
      .then(() => life.hints.publish({ kind: 'schedule' }))
      .catch((error: unknown) => world.remark(`${kind} of ${nodeId} failed: ${String(error)}`));
  }
}
