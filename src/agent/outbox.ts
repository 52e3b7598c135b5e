// Reports on their way: kept until acknowledged, sent again with new numbers after a reconnect, in order.
import type { AgentMessage, RunEvent } from '../protocol/agent-messages.ts';
import type { ReportKind } from './next-steps.ts';

/** The state of each port is told apart from the run's steps, the newest replacing an older one. */
export type OutboxKind = ReportKind | 'preparing' | `port ${number}`;

export interface OutboxReport {
  runUuid: string;
  attempt: number;
  kind: OutboxKind;
  /** Made anew for each sending, since it tells ages. */
  event: () => RunEvent;
}

interface Kept extends OutboxReport {
  /** null while it waits for a connection. */
  sequence: number | null;
}

export class Outbox {
  readonly #send: (message: AgentMessage) => boolean;
  #kept: Kept[] = [];
  #lastSequence = 0;
  #isConnected = false;

  constructor(send: (message: AgentMessage) => boolean) {
    this.#send = send;
  }

  /** A newer `preparing` replaces one that waits; any other report makes it pointless. */
  add(report: OutboxReport): void {
    this.#kept = this.#kept.filter(
      ({ runUuid, kind }) => !(runUuid === report.runUuid && (kind === 'preparing' || kind === report.kind)),
    );
    const kept = { ...report, sequence: null };
    this.#kept.push(kept);
    this.#offer(kept);
  }

  connect(): void {
    this.#isConnected = true;
    this.#lastSequence = 0;
    for (const kept of this.#kept) this.#offer(kept);
  }

  disconnect(): void {
    this.#isConnected = false;
    for (const kept of this.#kept) kept.sequence = null;
  }

  /** The report that was acknowledged; null for a number of another connection. */
  acknowledge(sequence: number): OutboxReport | null {
    const kept = this.#kept.find((report) => report.sequence === sequence);
    this.#kept = this.#kept.filter((report) => report !== kept);
    return kept ?? null;
  }

  /** Nobody wants to hear of this run any more. */
  drop(runUuid: string): void {
    this.#kept = this.#kept.filter((report) => report.runUuid !== runUuid);
  }

  #offer(kept: Kept): void {
    if (!this.#isConnected) return;
    const sequence = this.#lastSequence + 1;
    const { runUuid, attempt, event } = kept;
    const isSent = this.#send({ type: 'report', sequence, run_uuid: runUuid, attempt, event: event() });
    if (!isSent) return;
    kept.sequence = sequence;
    this.#lastSequence = sequence;
  }
}
