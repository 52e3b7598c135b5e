// The steps of a teardown as a receipt shows them: which were seen, by whose clock, and which nobody can vouch for.
import type { ReceiptRun } from '../db/job-receipts.ts';
import { isProved, type MarkWord, type Remains } from '../domain/receipt.ts';
import type { ReceiptStep, ReceiptStepName } from '../protocol/receipt.ts';
import { nullableTimestamp } from './job-view.ts';

type Seen = Pick<ReceiptStep, 'state' | 'clock' | 'ms'> & { atMs: number | null; text: string | null };

/** A container of the run is known to have been there. */
export function hadContainer({ containerId, startedAtMs, receipt }: ReceiptRun): boolean {
  return containerId !== null || startedAtMs !== null || receipt.proof?.container.state === 'gone';
}

/** Its ports and token went in the transaction that stopped the run or wrote its end. */
export function closedAtMs({ teardown, receipt, releasedAtMs }: ReceiptRun): number | null {
  const { marks, fenced, provedAtMs } = receipt;
  return teardown?.requestedAtMs ?? marks.exited?.atMs ?? fenced?.atMs ?? provedAtMs ?? releasedAtMs;
}

/** Of a run that has ended or is being torn down. */
export function receiptSteps(run: ReceiptRun): ReceiptStep[] {
  const look = new RunLook(run);
  const seen: [ReceiptStepName, Seen | null][] = [
    ['requested', look.requested()],
    ['ports_closed', look.portsClosed()],
    ['delivered', look.delivered()],
    ['signalled', look.rung('signalled')],
    ['killed', look.rung('killed')],
    ['cgroup_killed', look.byAgent('cgroup_killed')],
    ['exited', look.exited()],
    ['log_stored', look.logStored()],
    ['removed', look.removed()],
    ['processes_gone', look.remains('processes_gone', (proof) => proof.processes)],
    ['networks_gone', look.remains('networks_gone', (proof) => proof.networks)],
    ['volumes_gone', look.remains('volumes_gone', (proof) => proof.volumes)],
    ['gpus_clean', look.gpusClean()],
    ['verified', look.verified()],
  ];
  return seen.flatMap(([step, one]) => {
    if (one === null) return [];
    const { state, clock, ms, atMs, text } = one;
    return [{ step, state, clock, ms, at: nullableTimestamp(atMs), text }];
  });
}

type Proof = NonNullable<ReceiptRun['receipt']['proof']>;

class RunLook {
  readonly #run: ReceiptRun;
  readonly #proof: Proof | null;
  readonly #isOver: boolean;
  readonly #hadContainer: boolean;
  readonly #originMs: number | null;
  /** The first of each, by the agent's clock. */
  readonly #agentMs = new Map<string, number>();

  constructor(run: ReceiptRun) {
    this.#run = run;
    this.#proof = run.receipt.proof;
    this.#isOver = run.releasedAtMs !== null;
    this.#hadContainer = hadContainer(run);
    this.#originMs = closedAtMs(run);
    for (const { step, afterMs } of this.#proof?.steps ?? [])
      if (!this.#agentMs.has(step)) this.#agentMs.set(step, afterMs);
  }

  requested(): Seen {
    const { teardown } = this.#run;
    return teardown === null
      ? notNeeded('it ended without being stopped')
      : this.#byServer(teardown.requestedAtMs);
  }

  portsClosed(): Seen {
    if (this.#run.hasOpenPort || this.#run.hasToken) return absent(this.#isOver ? 'failed' : 'open');
    return this.#originMs === null ? absent('done') : this.#byServer(this.#originMs);
  }

  /** The server's stamp of the agent's word that it heard: the agent's own clock begins here. */
  delivered(): Seen {
    const mark = this.#run.receipt.marks.delivered;
    if (mark !== undefined) return this.#byServer(mark.atMs);
    if (this.#run.teardown === null) return notNeeded('it ended without being stopped');
    return this.byAgent('delivered') ?? this.#missing();
  }

  /** Signal or KILL; null: the exit was told, and whether one was needed is known with the proof. */
  rung(step: 'signalled' | 'killed'): Seen | null {
    const seen = this.#byMark(step);
    if (seen !== null) return seen;
    if (this.#run.teardown === null) return notNeeded('it ended without being stopped');
    if (this.#isOver && !this.#hadContainer) return notNeeded('no container ran');
    if (!this.#isOver && this.#run.receipt.marks.exited !== undefined) return null;
    return this.#missing();
  }

  exited(): Seen {
    if (!this.#hadContainer && (this.#isOver || this.#run.receipt.marks.exited !== undefined))
      return notNeeded('no container ran');
    return this.#byMark('exited') ?? absent(this.#isOver ? 'not_observed' : 'open');
  }

  logStored(): Seen {
    if (this.#proof === null) return absent(this.#isOver ? 'not_observed' : 'open');
    if (this.#proof.isLogComplete === null) return absent('not_observed', 'its log was not read to its end');
    if (!this.#proof.isLogComplete) return absent('failed', 'the end of the log did not reach the server');
    if (!this.#hadContainer) return notNeeded('no container ran');
    return this.byAgent('log_stored') ?? absent('done');
  }

  removed(): Seen {
    const seen = this.byAgent('removed');
    if (seen !== null) return seen;
    if (this.#proof?.container.state === 'none') return notNeeded('there was no container');
    if (this.#proof === null) return absent(this.#isOver ? 'not_observed' : 'open');
    return absent('not_observed', 'it was gone already when this life of the agent looked');
  }

  remains(step: ReceiptStepName, partOf: (proof: Proof) => Remains): Seen {
    if (this.#proof === null) return absent(this.#isOver ? 'not_observed' : 'open');
    const { state, why } = partOf(this.#proof);
    if (state === 'none') return notNeeded('there were none');
    return state === 'gone' ? (this.byAgent(step) ?? absent('done')) : absent('not_observed', why);
  }

  gpusClean(): Seen {
    if (this.#proof === null) return absent(this.#isOver ? 'not_observed' : 'open');
    const { gpus } = this.#proof;
    if (gpus.length === 0) return notNeeded('no GPU');
    const unclean = gpus.find(({ state }) => state !== 'clean');
    if (unclean === undefined) return this.byAgent('gpus_clean') ?? absent('done');
    return absent(unclean.state === 'dirty' ? 'failed' : 'not_observed', unclean.why);
  }

  verified(): Seen {
    const { provedAtMs } = this.#run.receipt;
    if (provedAtMs !== null && isProved(this.#proof)) return this.#byServer(provedAtMs);
    return absent(this.#isOver ? 'not_observed' : 'open');
  }

  byAgent(step: string, atMs: number | null = null): Seen | null {
    const ms = this.#agentMs.get(step);
    return ms === undefined ? null : { state: 'done', clock: 'agent', ms, atMs, text: null };
  }

  /** By the last life of the agent, else by the report that an earlier one made of it. */
  #byMark(step: MarkWord): Seen | null {
    const mark = this.#run.receipt.marks[step];
    const own = this.byAgent(step, mark?.atMs ?? null);
    if (own !== null || mark === undefined) return own;
    if (mark.afterMs === null) return this.#byServer(mark.atMs);
    return { state: 'done', clock: 'agent', ms: mark.afterMs, atMs: mark.atMs, text: null };
  }

  #byServer(atMs: number): Seen {
    const ms = Math.max(0, Math.round(atMs - (this.#originMs ?? atMs)));
    return { state: 'done', clock: 'server', ms, atMs, text: null };
  }

  /** A step of the ladder that nobody told of. */
  #missing(): Seen {
    if (!this.#isOver) return absent('open');
    if (this.#proof?.isWhole) return notNeeded(null);
    return absent('not_observed', 'the agent was not there all the time');
  }
}

function absent(state: ReceiptStep['state'], text: string | null = null): Seen {
  return { state, clock: null, ms: null, atMs: null, text };
}

function notNeeded(text: string | null): Seen {
  return absent('not_needed', text);
}
