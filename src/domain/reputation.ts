// The reputation of a node: the share of its promises that it kept, where what was long ago weighs little.

/** Weights of promises so far, each halved every `halfLifeMs`. */
export interface Promises {
  kept: number;
  broken: number;
}

/** What a node did within a time. */
export interface Deeds {
  /** Runs that started on it and ended by themselves, by their consumer's wish, or by their limits. */
  runsKept: number;
  /** Runs that it lost, or that failed by its fault. */
  runsBroken: number;
  /** Times that it was gone for so long that its runs were given up. */
  losses: number;
  /** Time that it was there for runs. */
  readyMs: number;
}

const dayMs = 86_400_000;
export const halfLifeMs = 14 * dayMs;
export const noPromises: Promises = { kept: 0, broken: 0 };
/** A new node is believed half: as if it had kept and broken so much. */
const believed = 5;
/** One that breaks every fifth promise is no good place for anything that takes days. */
const brokenRun = 5;
const loss = 10;

/** 0 to 1; 0.5 for a node that nobody knows. */
export function reputationOf({ kept, broken }: Promises): number {
  return (believed + kept) / (2 * believed + kept + broken);
}

/** After `elapsedMs` in which the node did this; what it did counts whole. */
export function withDeeds(before: Promises, deeds: Deeds, elapsedMs: number): Promises {
  const left = 0.5 ** (Math.max(0, elapsedMs) / halfLifeMs);
  return {
    kept: before.kept * left + deeds.runsKept + deeds.readyMs / dayMs,
    broken: before.broken * left + deeds.runsBroken * brokenRun + deeds.losses * loss,
  };
}

/**
 * How a run ended that was its node's fault. Not among them: images and registries, which are the consumer's choice, and
 * what an operator announced by a drain.
 */
export const nodeFaults = [
  ...['node_lost', 'node_restarted', 'container_disappeared', 'cut_off', 'processes_left'],
  ...['engine_restarted', 'engine_error', 'engine_silent', 'engine_unreachable', 'engine_too_old'],
  ...['gpu_unavailable', 'gpu_quarantined', 'no_space', 'network_unfit', 'state_unwritable'],
] as const;
/** Neither kept nor broken. */
export const announcedEnd = 'node_drained';
