// The book of runs: what is known of each, what is wanted of it, and which are over here.
import type { Static } from 'typebox';
import type { DesiredRun, Kill, ObservedContainer } from '../protocol/agent-messages.ts';
import type { Clock } from './clock.ts';
import type { RunTarget } from './next-steps.ts';
import type { Outbox } from './outbox.ts';
import { RetiredRuns } from './retired-runs.ts';
import { newRecord, observeOrder, type RunRecord } from './run-record.ts';
import { toTarget } from './run-target.ts';

export type KilledRun = Static<typeof Kill>['runs'][number];

export class RunBook {
  readonly records = new Map<string, RunRecord>();
  readonly targets = new Map<string, RunTarget>();
  readonly #clock: Clock;
  readonly #outbox: Outbox;
  /** By the time they ended: a stale message must not start them again. */
  readonly #retired: RetiredRuns;

  constructor(clock: Clock, outbox: Outbox) {
    this.#clock = clock;
    this.#outbox = outbox;
    this.#retired = new RetiredRuns(clock);
  }

  /** The record of the run, a new one where none is. */
  record(runUuid: string, attempt: number): RunRecord {
    const known = this.records.get(runUuid);
    if (known !== undefined) return known;
    const record = newRecord(runUuid, attempt);
    this.records.set(runUuid, record);
    return record;
  }

  /** The server's order; null where the run is over here, or the order older than what is known. */
  want(run: DesiredRun, isComplete: boolean): RunRecord | null {
    if (this.#isOver(run, isComplete)) return null;
    const record = this.record(run.run_uuid, run.attempt);
    const known = this.targets.get(run.run_uuid);
    if (run.attempt < record.attempt || (known !== undefined && run.attempt < known.attempt)) return null;
    observeOrder(record, run, this.#clock.nowMs());
    this.targets.set(run.run_uuid, toTarget(run, known, this.#clock.nowMs()));
    return record;
  }

  /** Whether a retired run is to stay so; one whose end the server lost is taken up again to tell it. */
  #isOver(run: DesiredRun, isComplete: boolean): boolean {
    if (this.records.has(run.run_uuid)) return false;
    const answer = this.#retired.ask(run, isComplete);
    if (answer.kind === 'again') this.records.set(run.run_uuid, answer.record);
    return answer.kind === 'over';
  }

  /** It is on the kill list. */
  condemn({ run_uuid: runUuid, attempt, container_id: containerId = null }: KilledRun): void {
    const record = this.record(runUuid, attempt);
    const known = this.targets.get(runUuid);
    if (attempt < record.attempt || (known !== undefined && attempt < known.attempt)) return;
    if (known?.kind === 'kill' && known.attempt === attempt) return;
    record.containerId ??= containerId;
    this.targets.set(runUuid, { kind: 'kill', attempt });
    // What it would still have told is no longer asked for, but for its end.
    this.#outbox.drop(runUuid);
    record.reports.released = 'none';
    record.shipper?.stop();
  }

  /** The server named all of its runs: nobody wants anything of the others. */
  dropUnnamed(named: ReadonlySet<string>): void {
    for (const record of this.records.values()) {
      if (named.has(record.runUuid) || this.targets.get(record.runUuid)?.kind === 'kill') continue;
      this.targets.delete(record.runUuid);
      this.#outbox.drop(record.runUuid);
      record.desired = null;
      record.shipper?.stop();
      if (record.work !== null) record.orphanSinceMs ??= this.#clock.nowMs();
    }
  }

  /** As far as is known. */
  containers(): ObservedContainer[] {
    return [...this.records.values()].flatMap(({ runUuid, attempt, container: state }) =>
      state === 'absent' ? [] : [{ run_uuid: runUuid, attempt, state }],
    );
  }

  /** Containers that nobody wants anything of, also those that appeared since. */
  orphans(): RunRecord[] {
    return [...this.records.values()].filter(
      ({ runUuid, container }) => container !== 'absent' && !this.targets.has(runUuid),
    );
  }

  /** Nothing is left to do for it. */
  retire(record: RunRecord): void {
    const { runUuid } = record;
    record.shipper?.stop();
    this.#retired.add(record, this.targets.get(runUuid)?.kind === 'kill');
    this.records.delete(runUuid);
    this.targets.delete(runUuid);
  }

  /** Forgets what was over long ago. */
  prune(): void {
    this.#retired.prune();
  }
}
