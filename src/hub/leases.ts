// Leases of the nodes that this replica hears: renewed in one statement a second; without the database it sends agents on.
import type { Logger } from 'pino';
import type { Database } from '../db/database.ts';
import type { Hints } from '../db/hints.ts';
import { listSilentNodes, renewLeases, reviveNodes } from '../db/node-leases.ts';
import type { AgentSession } from './session.ts';

export interface NodeLeasesOptions {
  database: Database;
  hints: Hints;
  log: Logger;
  monotonicNow: () => number;
  leaseMs: number;
  /** By node: who is connected here. */
  sessions: ReadonlyMap<string, AgentSession>;
}

export class NodeLeases {
  readonly #options: NodeLeasesOptions;
  readonly #heard = new Set<string>();
  #isRenewing = false;
  /** Since when a renewal is tried in vain; null: none is. */
  #owedSinceMs: number | null = null;

  constructor(options: NodeLeasesOptions) {
    this.#options = options;
  }

  /** The node gave a sign of life. */
  note(nodeId: string): void {
    this.#heard.add(nodeId);
  }

  /** Renews the leases of all nodes heard since the last time, unless the last one is still tried; never rejects. */
  async flush(): Promise<void> {
    const { sessions, hints, log, monotonicNow } = this.#options;
    if (this.#isRenewing) return this.#sendOn();
    const nodeIds = [...this.#heard].filter((nodeId) => sessions.has(nodeId));
    this.#heard.clear();
    if (nodeIds.length === 0) return;
    this.#isRenewing = true;
    this.#owedSinceMs ??= monotonicNow();
    try {
      if (await this.#renew(nodeIds)) hints.publish({ kind: 'schedule' });
      this.#owedSinceMs = null;
    } catch (error) {
      for (const nodeId of nodeIds) this.#heard.add(nodeId);
      log.warn({ err: error }, 'Leases could not be renewed; trying again.');
      this.#sendOn();
    } finally {
      this.#isRenewing = false;
    }
  }

  /** True when a node takes work again that did not. */
  async #renew(nodeIds: string[]): Promise<boolean> {
    const { database, leaseMs, sessions } = this.#options;
    await renewLeases(database, { nodeIds, leaseMs });
    const heard = new Set(nodeIds);
    const silent = (await listSilentNodes(database)).filter(({ id }) => heard.has(id));
    // A lost node's runs were given up: it must say hello again to learn which.
    for (const { id, status } of silent) if (status === 'lost') sessions.get(id)?.close('say hello again');
    const unreachable = silent.filter(({ status }) => status === 'unreachable').map(({ id }) => id);
    if (unreachable.length > 0) await reviveNodes(database, unreachable);
    return silent.length > 0;
  }

  /** It may be this replica alone that the database is away for: before the leases end, agents try the servers they know. */
  #sendOn(): void {
    const { sessions, monotonicNow, leaseMs } = this.#options;
    if (this.#owedSinceMs === null || monotonicNow() - this.#owedSinceMs < leaseMs / 2) return;
    for (const session of sessions.values()) if (session.knowsOthers) session.leave();
  }
}
