// Kinds of seeds: which faults meet which work. Seeds in a row are of every kind, so that none is left to chance.
import { defaultLeaseMs } from '../../src/domain/silence.ts';
import {
  everything,
  type FaultStyle,
  few,
  ofAgents,
  ofLocks,
  ofNodes,
  ofPlans,
  ofServers,
  ofSilence,
} from './fault-maker.ts';
import { contended, crowded, lasting, mixed, overdue, retried, type WorkKind } from './work.ts';

export interface Plot {
  faults: FaultStyle;
  work: WorkKind;
  leaseMs: number;
  lostAfterMs: number;
}

/** Longer than an agent takes that dialled a server which hangs: the limit of a handshake, a back-off, and hello. */
const usual = { leaseMs: defaultLeaseMs, lostAfterMs: 18_000 };
/** No server hangs, and nodes are lost sooner: more of them in a seed. */
const soon = { leaseMs: 4_500, lostAfterMs: 5_500 };

const plots: readonly [Plot, ...Plot[]] = [
  { ...usual, faults: everything, work: mixed },
  { ...soon, faults: ofSilence, work: lasting },
  { ...usual, faults: few, work: retried },
  { ...usual, faults: ofNodes, work: mixed },
  { ...usual, faults: ofLocks, work: mixed },
  { ...soon, faults: ofSilence, work: lasting },
  { ...usual, faults: few, work: overdue },
  { ...usual, faults: ofAgents, work: crowded },
  { ...usual, faults: ofServers, work: mixed },
  { ...usual, faults: ofNodes, work: overdue },
  { ...usual, faults: ofPlans, work: contended },
];

export function plotOf(seed: number): Plot {
  return plots[seed % plots.length] ?? plots[0];
}
