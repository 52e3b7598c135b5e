// Nodes that fall silent: unreachable after their lease, lost after a while, and never while the fault may be ours.
import type { Database } from '../db/database.ts';
import type { Hints } from '../db/hints.ts';
import type { Leadership } from '../db/leadership.ts';
import {
  countReadyNodes,
  listRunsOfLostNodes,
  listSilentNodes,
  markLostNodes,
  markSilentNodes,
  readLeaseClock,
  renewAllLeases,
} from '../db/node-leases.ts';
import { applyRunEvents } from '../db/run-events.ts';
import type { ClockReading } from '../domain/clock-step.ts';
import {
  defaultLeaseMs,
  isUnbroken,
  lookAtSilence,
  type SilenceWatch,
  startWatch,
} from '../domain/silence.ts';

export interface NodeLossOptions {
  database: Database;
  hints: Hints;
  monotonicNow: () => number;
  leadership: Leadership;
  /** Who writes it: this replica as the leader. */
  actor: Record<string, unknown>;
  /** Silence after which a node's runs are given up. */
  lostAfterMs: number;
}

const batchSize = 500;
const reason = 'The node was silent for too long, and its run was given up.';

/** Lives as long as a term of the leader, whose every failed pass ends it: what it has not watched it does not judge. */
export class NodeLoss {
  readonly #options: NodeLossOptions;
  #watch: SilenceWatch | null = null;

  constructor(options: NodeLossOptions) {
    this.#options = options;
  }

  /** One look, about every second. */
  async review(): Promise<void> {
    const { database, leadership, actor } = this.#options;
    const clock = await this.#readClock();
    if (this.#watch === null || !isUnbroken(this.#watch, clock)) {
      await renewAllLeases(database, defaultLeaseMs);
      this.#watch = startWatch(clock);
    }
    await markSilentNodes(database, actor);
    const lost = await this.#look(this.#watch, clock);
    if (lost.length > 0) await markLostNodes(database, lost, { leadership, actor });
    await this.#giveUpRuns();
  }

  async #readClock(): Promise<ClockReading> {
    const { database, monotonicNow } = this.#options;
    const beforeMs = monotonicNow();
    const wallMs = await readLeaseClock(database);
    return { beforeMs, afterMs: monotonicNow(), wallMs };
  }

  async #look(before: SilenceWatch, clock: ClockReading): Promise<string[]> {
    const { database, lostAfterMs } = this.#options;
    const silent = (await listSilentNodes(database)).filter(({ status }) => status === 'unreachable');
    const readyCount = silent.length === 0 ? 0 : await countReadyNodes(database);
    const { watch, lost } = lookAtSilence(before, { clock, silent, readyCount }, { lostAfterMs });
    this.#watch = watch;
    return lost;
  }

  /** Of every lost node, also of one that an earlier leader marked and did not finish. */
  async #giveUpRuns(): Promise<void> {
    const { database, hints, actor } = this.#options;
    const runs = await listRunsOfLostNodes(database, batchSize);
    if (runs.length === 0) return;
    const events = runs.map((run) => ({
      runId: run.id,
      from: null,
      onlyWhileNodeIs: 'lost' as const,
      event: () => ({ kind: 'node_lost' as const, reason }),
    }));
    const applied = await applyRunEvents(database, events, actor);
    for (const event of applied)
      if (event.kind === 'applied') hints.publish({ kind: 'job', jobId: event.jobId });
    hints.publish({ kind: 'ports' });
    hints.publish({ kind: 'schedule' });
  }
}
