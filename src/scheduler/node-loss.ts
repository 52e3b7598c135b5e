// Nodes that fall silent: unreachable after their lease, lost after a while, and never while the fault may be ours.
import type { Database } from '../db/database.ts';
import type { Hints } from '../db/hints.ts';
import { countNodes, markLostNodes, markSilentNodes } from '../db/nodes.ts';
import { listHeldRuns } from '../db/placement.ts';
import { applyRunEvents } from '../db/run-events.ts';

export interface NodeLossOptions {
  database: Database;
  hints: Hints;
  holder: string;
  /** Silence after which a node's runs are given up. */
  lostAfterMs: number;
}

/** More of the fleet than this falling silent within a minute is our own fault. */
const suspiciousFraction = 0.3;
const suspiciousFleet = 4;
const observeMs = 60_000;

export class NodeLoss {
  readonly #options: NodeLossOptions;
  #silentSince: number[] = [];
  #graceUntilMs: number;

  /** Begins with a grace: a new leader, or one whose database was away, has no right to judge silence yet. */
  constructor(options: NodeLossOptions, nowMs: number) {
    this.#options = options;
    this.#graceUntilMs = nowMs + options.lostAfterMs;
  }

  /** `nowMs` is the database's time. */
  async review(nowMs: number): Promise<void> {
    const { database, lostAfterMs } = this.#options;
    const silent = await markSilentNodes(database);
    this.#silentSince = [
      ...this.#silentSince.filter((atMs) => atMs > nowMs - observeMs),
      ...silent.map(() => nowMs),
    ];
    if (silent.length > 0 && (await this.#isFleetSilent())) this.#graceUntilMs = nowMs + lostAfterMs;
    if (nowMs < this.#graceUntilMs) return;
    const lost = await markLostNodes(database, lostAfterMs);
    if (lost.length > 0) await this.#giveUpRuns(lost);
  }

  async #isFleetSilent(): Promise<boolean> {
    const fleet = await countNodes(this.#options.database);
    return fleet >= suspiciousFleet && this.#silentSince.length > fleet * suspiciousFraction;
  }

  async #giveUpRuns(nodeIds: string[]): Promise<void> {
    const { database, hints, holder } = this.#options;
    const runs = await listHeldRuns(database, nodeIds);
    const reason = 'The node was silent for too long, and its run was given up.';
    const events = runs.map((run) => ({
      runId: run.id,
      from: null,
      event: () => ({ kind: 'node_lost' as const, reason }),
    }));
    const applied = await applyRunEvents(database, events, { kind: 'scheduler', replica: holder });
    for (const event of applied)
      if (event.kind === 'applied') hints.publish({ kind: 'job', jobId: event.jobId });
    hints.publish({ kind: 'schedule' });
  }
}
