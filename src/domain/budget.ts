// The budget of a job: what it may cost, how long it goes on unrenewed or unused, when its consumer is warned and when it stops.
import { costMicros } from './price.ts';

/** What a consumer set; null: no limit. */
export interface Budget {
  maxCostMicros: number | null;
  renewWithinMs: number | null;
  idleTimeoutMs: number | null;
}

export const noBudget: Budget = { maxCostMicros: null, renewWithinMs: null, idleTimeoutMs: null };

export const budgetLimits = ['max_cost_usd', 'renew_within_ms', 'idle_timeout_ms'] as const;
export type BudgetLimit = (typeof budgetLimits)[number];

/** What is known of a live job now. */
export interface BudgetUse {
  /** Of all its runs, up to now. */
  spentMicros: number;
  /** Micro-dollars an hour of the run that is under way; 0: none is. */
  rateMicros: number;
  /** What a stop of that run would still be billed at most. */
  graceMs: number;
  /** Since it started or was renewed; null: it never started. */
  unrenewedMs: number | null;
  /** Its CPU, GPU and network are known to be idle for so long. */
  idleMs: number;
}

export interface BudgetNote {
  limit: BudgetLimit;
  text: string;
}

export interface BudgetDecision {
  /** Limits that stand warned of from now on. */
  warned: BudgetLimit[];
  /** Those that were not before. */
  warnings: BudgetNote[];
  /** The first limit that is reached. */
  stop: BudgetNote | null;
}

/** A consumer hears of a limit when so much of it is used. */
export const warningShare = 0.8;

/** A warning is given once, and again when its limit was far away in between: renewed, or in use. */
export function decideBudget(
  budget: Budget,
  use: BudgetUse,
  warnedBefore: readonly string[],
): BudgetDecision {
  const shares = sharesOf(budget, use);
  const warned = shares.filter(({ share }) => share >= warningShare);
  const reached = shares.find(({ share }) => share >= 1);
  return {
    warned: warned.map(({ limit }) => limit),
    warnings: warned
      .filter(({ limit }) => !warnedBefore.includes(limit))
      .map(({ limit, value }) => ({ limit, text: `budget: ${limit} ${value} is ${percent} % used` })),
    stop:
      reached === undefined
        ? null
        : { limit: reached.limit, text: `budget: ${reached.limit} ${reached.value} reached` },
  };
}

const percent = Math.round(warningShare * 100);

interface Share {
  limit: BudgetLimit;
  /** As the consumer wrote it. */
  value: string;
  /** 1: reached. */
  share: number;
}

function sharesOf({ maxCostMicros, renewWithinMs, idleTimeoutMs }: Budget, use: BudgetUse): Share[] {
  const shares: Share[] = [];
  if (maxCostMicros !== null) {
    // What the stop itself may cost is kept back, so that the whole stays within the limit.
    const spent = use.spentMicros + costMicros(use.rateMicros, use.graceMs);
    shares.push({ limit: 'max_cost_usd', value: usdText(maxCostMicros), share: spent / maxCostMicros });
  }
  if (renewWithinMs !== null && use.unrenewedMs !== null)
    shares.push({
      limit: 'renew_within_ms',
      value: String(renewWithinMs),
      share: use.unrenewedMs / renewWithinMs,
    });
  if (idleTimeoutMs !== null)
    shares.push({
      limit: 'idle_timeout_ms',
      value: String(idleTimeoutMs),
      share: use.idleMs / idleTimeoutMs,
    });
  return shares;
}

/** At least two decimals, and no more than there are. */
export function usdText(micros: number): string {
  return (micros / 1e6).toFixed(6).replace(/0{1,4}$/, '');
}
