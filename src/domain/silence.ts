// Which silent nodes are lost: only silence that was watched without a break counts, and none while the fault may be ours.
//
// INVARIANTS
// - Losses are judged by the watcher's monotonic clock; the database's clock may jump by any amount and loses no node.
// - A watch that was broken (a new leader, a pause, the database away, a jump of its clock) begins anew: whoever did not
//   look has no right to judge.

import { type ClockReading, clockStep } from './clock-step.ts';

/** Without a heartbeat for this long a node is unreachable. */
export const defaultLeaseMs = 15_000;
export const defaultLostAfterMs = 300_000;
/** Looks come every second; after a longer pause heartbeats may have been missed with it. */
const maxGapMs = 10_000;
/** Silence before the first look that counts: the lease, and what passes until its end is seen. */
const countedBeforeMs = 20_000;
/** More of the fleet than this falling silent within a minute is the fault of a network or of us, not of the nodes. */
const suspiciousShare = 0.3;
const suspiciousSpanMs = 60_000;
/** One node alone is no sign of that, however small the fleet. */
const suspiciousCount = 2;
/** So many times the usual silence is waited then; it must end, or a rack that burned down would hold its jobs for good. */
const suspiciousFactor = 12;

export interface SilentNode {
  id: string;
  /** Since it was last heard, by the database's clock. */
  silentMs: number;
}

interface Silence {
  sinceMs: number;
  noticedAtMs: number;
}

/** What is remembered from look to look; times are monotonic milliseconds. */
export interface SilenceWatch {
  beganAtMs: number;
  /** The database's clock at the last look. */
  clock: ClockReading;
  silences: ReadonlyMap<string, Silence>;
  /** Since when too many are silent; null: they are not. */
  suspiciousSinceMs: number | null;
}

export function startWatch(clock: ClockReading): SilenceWatch {
  return { beganAtMs: clock.afterMs, clock, silences: new Map(), suspiciousSinceMs: null };
}

/** false: too long since the last look, or the database's clock jumped; leases mean nothing then. */
export function isUnbroken(watch: SilenceWatch, clock: ClockReading): boolean {
  return clock.afterMs - watch.clock.afterMs <= maxGapMs && clockStep(watch.clock, clock) === 0;
}

export interface Look {
  clock: ClockReading;
  /** Every unreachable node. */
  silent: readonly SilentNode[];
  readyCount: number;
}

/** The watch after one more look, and the nodes that are lost with it. */
export function lookAtSilence(
  watch: SilenceWatch,
  look: Look,
  { lostAfterMs }: { lostAfterMs: number },
): { watch: SilenceWatch; lost: string[] } {
  const nowMs = look.clock.afterMs;
  const silences = new Map(look.silent.map((node) => [node.id, silenceOf(node, watch, nowMs)]));
  const suspiciousSinceMs = suspicion(watch, look, silences);
  const isOver = watch.suspiciousSinceMs !== null && suspiciousSinceMs === null;
  const next: SilenceWatch = {
    ...watch,
    clock: look.clock,
    suspiciousSinceMs,
    silences: isOver ? anew(silences, nowMs) : silences,
  };
  const isSuspended =
    suspiciousSinceMs !== null && nowMs - suspiciousSinceMs < lostAfterMs * suspiciousFactor;
  if (isSuspended) return { watch: next, lost: [] };
  const lost = [...next.silences].filter(([, { sinceMs }]) => nowMs - sinceMs >= lostAfterMs);
  return { watch: next, lost: lost.map(([id]) => id) };
}

function silenceOf({ id, silentMs }: SilentNode, watch: SilenceWatch, nowMs: number): Silence {
  const known = watch.silences.get(id);
  if (known !== undefined) return known;
  const beforeMs = Math.max(0, Math.min(silentMs, countedBeforeMs));
  return { sinceMs: Math.max(watch.beganAtMs, nowMs - beforeMs), noticedAtMs: nowMs };
}

/** Those that come back from a common silence do so one by one: the rest get the whole time again. */
function anew(silences: ReadonlyMap<string, Silence>, nowMs: number): Map<string, Silence> {
  return new Map([...silences].map(([id, silence]) => [id, { ...silence, sinceMs: nowMs }]));
}

function suspicion(
  { suspiciousSinceMs }: SilenceWatch,
  { clock: { afterMs: nowMs }, silent, readyCount }: Look,
  silences: ReadonlyMap<string, Silence>,
): number | null {
  const isMany = (count: number) =>
    count >= suspiciousCount && count > (readyCount + silent.length) * suspiciousShare;
  if (suspiciousSinceMs !== null) return isMany(silent.length) ? suspiciousSinceMs : null;
  const fresh = [...silences.values()].filter(({ noticedAtMs }) => nowMs - noticedAtMs < suspiciousSpanMs);
  return isMany(fresh.length) ? nowMs : null;
}
