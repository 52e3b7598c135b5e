// The scheduler: while this replica leads, it places pending jobs, enforces deadlines and watches over silent nodes.
import type { Logger } from 'pino';
import type { Database } from '../db/database.ts';
import { readFreePorts } from '../db/gateway-ports.ts';
import type { Hints } from '../db/hints.ts';
import { tokenOwner } from '../db/job-rows.ts';
import { claimLeadership, type Leadership, releaseLeadership } from '../db/leadership.ts';
import {
  failUnassignedJobs,
  listDueRuns,
  listStillPending,
  writePendingReasons,
  writePlan,
} from '../db/placement.ts';
import { applyRunEvents } from '../db/run-events.ts';
import type { Vault } from '../db/vault.ts';
import { pendingReasons } from '../domain/pending-reason.ts';
import { type Plan, plan } from '../domain/placement.ts';
import { createWorkingSet, type WorkingSet } from '../domain/placement-working-set.ts';
import { defaultLostAfterMs } from '../domain/silence.ts';
import { pause, type Timers } from '../domain/timers.ts';
import { billDueRuns } from './billing.ts';
import { enforceBudgets } from './budget.ts';
import type { ClockWatch } from './clock-watch.ts';
import { CreditWatch } from './credit.ts';
import { EpochBooks } from './epochs.ts';
import { Feed } from './feed.ts';
import { drainNodes } from './node-drain.ts';
import { NodeLoss } from './node-loss.ts';
import { Prices } from './prices.ts';

export interface SchedulerOptions {
  database: Database;
  vault: Vault;
  hints: Hints;
  log: Logger;
  /** This replica, as the holder of the leadership. */
  replicaId: string;
  newId: () => string;
  /** Random letters and digits: container access tokens. */
  newToken: (length: number) => string;
  monotonicNow: () => number;
  timers: Timers;
  /** Absent: the database's clock is trusted, whatever it says. */
  clockWatch?: ClockWatch;
  lostAfterMs?: number;
  trustTenants?: boolean;
}

const leadershipName = 'scheduler';
const leadershipMs = 5_000;
const renewMs = 1_500;
/** How often a leader looks without being told; hints make it look at once. */
const tickMs = 250;
/** Passes begin at least this far apart: under load one pass then serves many submits instead of a few. */
const passGapMs = 8;
/** Deadlines are looked at this often, woken or not. */
const deadlineMs = 200;
const reviewMs = 1_000;
/** Nobody waits for a pass over jobs that are older. */
const seenWindowMs = 1_000;
/** Free public ports are counted at most this often. */
const portsMs = 100;
const batchSize = 500;
const dueBatch = 500;
const tokenLength = 40;

/** What exists only while this replica leads. */
interface Term {
  leadership: Leadership;
  workingSet: WorkingSet;
  prices: Prices;
  credit: CreditWatch;
  epochs: EpochBooks;
  feed: Feed;
  nodeLoss: NodeLoss;
  reasons: string;
  portsReadAtMs: number;
}

export class Scheduler {
  readonly #options: SchedulerOptions;
  readonly #unsubscribe: () => void;
  #term: Term | null = null;
  #renewedAtMs = Number.NEGATIVE_INFINITY;
  #reviewedAtMs = Number.NEGATIVE_INFINITY;
  #enforcedAtMs = Number.NEGATIVE_INFINITY;
  #wake: (() => void) | undefined;
  #isWoken = false;
  #isStopped = false;
  #running: Promise<void> | undefined;

  constructor(options: SchedulerOptions) {
    this.#options = options;
    this.#unsubscribe = options.hints.subscribe((hint) => {
      if (hint.kind === 'schedule' || hint.kind === 'missed') this.#poke();
    });
  }

  start(): void {
    this.#running = this.#run();
  }

  /** Ends after the pass under way and gives up the leadership. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#poke();
    this.#unsubscribe();
    await this.#running;
    await this.#resign();
  }

  async #resign(): Promise<void> {
    const { database, log } = this.#options;
    const term = this.#term;
    this.#term = null;
    if (term === null) return;
    await releaseLeadership(database, term.leadership).catch((error) => {
      log.warn({ err: error }, 'The leadership was not given up; it expires by itself.');
    });
  }

  get isLeader(): boolean {
    return this.#term !== null;
  }

  queuePosition(jobId: string): number | null {
    return this.#term?.workingSet.queuePosition(jobId) ?? null;
  }

  async #run(): Promise<void> {
    while (!this.#isStopped) {
      const startedAtMs = this.#options.monotonicNow();
      try {
        await this.#lead();
        if (this.#term !== null) await this.#pass(this.#term);
        else await this.#clockJumped(null);
      } catch (error) {
        this.#options.log.warn({ err: error }, 'A scheduler pass failed; the next one begins afresh.');
        // What was written is uncertain: who leads next, perhaps another replica, reads everything again.
        await this.#resign();
        await pause(this.#options.timers, tickMs);
      }
      await this.#rest();
      const leftMs = startedAtMs + passGapMs - this.#options.monotonicNow();
      if (leftMs > 0) await pause(this.#options.timers, leftMs);
      this.#isWoken = false;
    }
  }

  async #lead(): Promise<void> {
    const now = this.#options.monotonicNow();
    if (this.#term !== null && now - this.#renewedAtMs < renewMs) return;
    const { database, replicaId, log } = this.#options;
    const leadership = await claimLeadership(database, {
      name: leadershipName,
      holder: replicaId,
      leaseMs: leadershipMs,
    });
    this.#renewedAtMs = now;
    if (leadership === null) {
      if (this.#term !== null) log.warn('Another replica leads now.');
      this.#term = null;
      return;
    }
    if (this.#term?.leadership.epoch === leadership.epoch) return;
    log.info({ epoch: leadership.epoch }, 'This replica schedules now.');
    const workingSet = createWorkingSet({ trustTenants: this.#options.trustTenants ?? false });
    const prices = new Prices(database, this.#options.monotonicNow);
    this.#term = {
      leadership,
      workingSet,
      prices,
      credit: new CreditWatch(this.#options, this.#actor(leadership)),
      epochs: new EpochBooks(this.#options.database, this.#options.monotonicNow),
      feed: new Feed(database, workingSet, prices),
      nodeLoss: this.#watchNodes(leadership),
      reasons: '',
      portsReadAtMs: Number.NEGATIVE_INFINITY,
    };
  }

  async #pass(term: Term): Promise<void> {
    const startedAtMs = this.#options.monotonicNow();
    const nowMs = await term.feed.refresh();
    await this.#countPorts(term, startedAtMs);
    const isReviewDue = startedAtMs - this.#reviewedAtMs >= reviewMs;
    let decided: Plan;
    do {
      decided = plan(term.workingSet, nowMs, { limit: batchSize });
      if (decided.placements.length > 0) await this.#write(term, decided);
    } while (decided.placements.length === batchSize);
    this.#tellSeen(term, nowMs);
    if (startedAtMs - this.#enforcedAtMs >= deadlineMs) {
      this.#enforcedAtMs = startedAtMs;
      await this.#enforceDeadlines(term, nowMs);
    }
    if (!isReviewDue) return;
    this.#reviewedAtMs = startedAtMs;
    if (await this.#clockJumped(term)) return;
    await this.#tellReasons(term);
    await term.prices.describeUnknown(this.#options.newId);
    await drainNodes(this.#options, this.#actor(term.leadership));
    await billDueRuns(this.#options.database, this.#actor(term.leadership));
    await enforceBudgets(this.#options, this.#actor(term.leadership));
    await term.credit.review();
    await term.epochs.review();
    await term.nodeLoss.review();
  }

  /** Only while a job wants some: the run's start takes them, and a job that cannot get them is not started at all. */
  async #countPorts(term: Term, nowMs: number): Promise<void> {
    if (!term.workingSet.wantsPorts || nowMs - term.portsReadAtMs < portsMs) return;
    term.portsReadAtMs = nowMs;
    term.workingSet.setFreePorts(await readFreePorts(this.#options.database));
  }

  /** true: what was just read by the database's clock means nothing; the next look will do. */
  async #clockJumped(term: Term | null): Promise<boolean> {
    return (await this.#options.clockWatch?.look(term?.leadership ?? null)) ?? false;
  }

  #actor({ holder }: Leadership): Record<string, unknown> {
    return { kind: 'scheduler', replica: holder };
  }

  #watchNodes(leadership: Leadership): NodeLoss {
    const { database, hints, monotonicNow, lostAfterMs = defaultLostAfterMs } = this.#options;
    const actor = this.#actor(leadership);
    return new NodeLoss({ database, hints, monotonicNow, lostAfterMs, leadership, actor });
  }

  async #write(term: Term, { placements }: Plan): Promise<void> {
    const { database, vault, hints, newId, newToken } = this.#options;
    const unpaid = await term.credit.refuseUnpaid(placements.map(({ jobId }) => jobId));
    const payable = placements.filter(({ jobId }) => !unpaid.has(jobId));
    const planned = payable.map((placement) => {
      const runId = newId();
      const node = term.workingSet.nodes.get(placement.nodeId)?.node;
      const hourlyRateMicros = node === undefined ? 0 : term.prices.rateOf(placement, node);
      const sealedToken = vault.seal(newToken(tokenLength), tokenOwner(runId));
      return { ...placement, runId, hourlyRateMicros, sealedToken };
    });
    const placed = await writePlan(database, term.leadership, planned);
    const skipped = placements.filter((placement) => !placed.has(placement.jobId));
    for (const { jobId, nodeId } of placements) {
      if (!placed.has(jobId)) continue;
      term.workingSet.confirm(jobId);
      term.feed.forget(jobId);
      hints.publish({ kind: 'node', nodeId });
      hints.publish({ kind: 'job', jobId });
    }
    if (skipped.length > 0)
      await this.#takeBack(
        term,
        skipped.map((placement) => placement.jobId),
      );
  }

  /** The database overtook these: their capacity is free again, and those no longer PENDING are forgotten. */
  async #takeBack(term: Term, jobIds: string[]): Promise<void> {
    const pending = new Set(await listStillPending(this.#options.database, jobIds));
    for (const jobId of jobIds) {
      term.workingSet.revert(jobId);
      if (!pending.has(jobId)) term.feed.forget(jobId);
    }
    // A plan that is skipped whole may mean that we do not lead any more.
    this.#renewedAtMs = Number.NEGATIVE_INFINITY;
  }

  async #enforceDeadlines(term: Term, nowMs: number): Promise<void> {
    const { database, hints } = this.#options;
    const actor = this.#actor(term.leadership);
    const due = term.feed.deadlines.due(nowMs);
    const runs = await listDueRuns(database, dueBatch);
    if (due.length + runs.length === 0 || (await this.#clockJumped(term))) return;
    if (due.length > 0) {
      const failed = await failUnassignedJobs(database, due, term.leadership.holder);
      for (const jobId of failed) {
        term.feed.forget(jobId);
        hints.publish({ kind: 'job', jobId });
      }
    }
    const events = runs.map((run) => ({ runId: run.id, from: null, event: () => ({ kind: run.kind }) }));
    for (const applied of await applyRunEvents(database, events, actor)) {
      if (applied.kind !== 'applied') continue;
      hints.publish({ kind: 'node', nodeId: applied.nodeId });
      hints.publish({ kind: 'job', jobId: applied.jobId });
    }
  }

  /** Whoever just submitted may wait for this. */
  #tellSeen({ feed }: Term, nowMs: number): void {
    for (const [accountId, toMs] of feed.takeNewest())
      if (toMs > nowMs - seenWindowMs) this.#options.hints.publish({ kind: 'seen', accountId, toMs });
  }

  async #tellReasons(term: Term): Promise<void> {
    const reasons = pendingReasons(term.workingSet);
    const told = JSON.stringify([...reasons]);
    if (told === term.reasons) return;
    await writePendingReasons(this.#options.database, term.leadership, reasons);
    term.reasons = told;
  }

  #poke(): void {
    this.#isWoken = true;
    this.#wake?.();
  }

  /** Until the next tick, or until something asks us to look. */
  async #rest(): Promise<void> {
    if (!this.#isWoken && !this.#isStopped) {
      await new Promise<void>((resolve) => {
        const cancel = this.#options.timers.after(tickMs, resolve);
        this.#wake = () => {
          cancel();
          resolve();
        };
      });
      this.#wake = undefined;
    }
  }
}
