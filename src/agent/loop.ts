// The level-triggered loop: observations and wishes come in, the rules are asked, their steps are started.
//
// A pass is synchronous, so it never overlaps itself; the work it starts runs beside it and wakes it again.
import type { Static } from 'typebox';
import type {
  AgentMessage,
  DesiredRun,
  Inventory,
  Kill,
  LogChunk,
  ObservedContainer,
  RunError,
  ServerMessage,
} from '../protocol/agent-messages.ts';
import { type Clock, sleep } from './clock.ts';
import type { NodeIdentity } from './container-order.ts';
import { eventsRetryMs, watchEngine } from './engine-watch.ts';
import { type ExecutorDeps, execute } from './executors.ts';
import type { GpuGuard } from './gpu-guard.ts';
import type { Images } from './images.ts';
import type { AgentLog } from './log.ts';
import { nextSteps, type RunTarget, reportKinds } from './next-steps.ts';
import { Outbox } from './outbox.ts';
import type { PortReading } from './port-probe.ts';
import { RetiredRuns } from './retired-runs.ts';
import { portEvent } from './run-events.ts';
import { newRecord, observeGone, observeListed, observeOrder, type RunRecord } from './run-record.ts';
import { toTarget } from './run-target.ts';
import type { ContainerSummary, Runtime } from './runtime.ts';
import { sweepVolumes } from './volumes.ts';

type KilledRun = Static<typeof Kill>['runs'][number];

export interface LoopOptions {
  runtime: Runtime;
  clock: Clock;
  log: AgentLog;
  /** The control connection; false when the message was not taken. */
  send: (message: AgentMessage) => boolean;
  sendLog: (chunk: LogChunk) => boolean;
  inventory: () => Inventory;
  /** After every pass: runs may have started or ended. */
  onPass?: () => void;
  /** Reads the node anew and tells the server what changed. */
  refreshInventory: () => Promise<void>;
  images: Images;
  gpuGuard: GpuGuard;
  /** Between two looks at the whole list; events tell of changes sooner. */
  resyncMs?: number;
  /** Another bound on a teardown than the rules' own. */
  stuckAfterMs?: number;
}

const defaultResyncMs = 5_000;

export class AgentLoop {
  readonly #options: LoopOptions;
  readonly #records = new Map<string, RunRecord>();
  readonly #targets = new Map<string, RunTarget>();
  /** Runs that are over here, by the time they ended: a stale message must not start them again. */
  readonly #retired: RetiredRuns;
  readonly #outbox: Outbox;
  readonly #executorDeps: ExecutorDeps;
  readonly #stop = new AbortController();
  #identity: NodeIdentity | null = null;
  #connectedSinceMs: number | null = null;
  /** Runs whose log place the server told on this connection. */
  #aligned = new Set<string>();
  /** Messages that wait until the containers are known: else a run that lives would be taken for gone. */
  #held: ServerMessage[] | null = null;
  /** The server named every run of ours on this connection: what it did not name is an orphan. */
  #hasWholeList = false;
  #isPassDue = false;
  #cancelTimer: (() => void) | null = null;

  constructor(options: LoopOptions) {
    this.#options = options;
    this.#outbox = new Outbox(options.send);
    this.#retired = new RetiredRuns(options.clock);
    this.#executorDeps = {
      runtime: options.runtime,
      clock: options.clock,
      log: options.log,
      outbox: this.#outbox,
      send: options.send,
      sendLog: (chunk) => this.#aligned.has(chunk.run_uuid) && options.sendLog(chunk),
      identity: () => this.#requireIdentity(),
      inventory: options.inventory,
      refreshInventory: options.refreshInventory,
      images: options.images,
      gpuGuard: options.gpuGuard,
      records: this.#records,
      targets: this.#targets,
      forget: (record) => this.#retire(record),
      wake: () => this.wake(),
      resync: () => this.resync(),
    };
  }

  /** Containers of this node for the hello; throws while the engine is away. */
  async observe(nodeUuid: string): Promise<ObservedContainer[]> {
    const listed = await this.#options.runtime.listContainers(nodeUuid);
    const own = this.#identity === null ? listed : listed.filter((container) => this.#isOwn(container));
    return own.map(({ runUuid, attempt, state }) => ({ run_uuid: runUuid, attempt, state }));
  }

  /** The server's welcome; from here on containers are known to be this cluster's or not. */
  async connect(identity: NodeIdentity): Promise<void> {
    const isFirst = this.#identity === null;
    this.#identity = identity;
    const held: ServerMessage[] = [];
    this.#held = held;
    if (isFirst) this.#watch(identity.nodeUuid);
    while (!(await this.#tryResync())) await sleep(this.#options.clock, eventsRetryMs, this.#stop.signal);
    if (this.#held !== held) return;
    this.#held = null;
    this.#aligned = new Set();
    this.#connectedSinceMs = this.#options.clock.nowMs();
    this.#outbox.connect();
    for (const message of held) this.receive(message);
    this.wake();
  }

  /** Runs whose container lives, as far as is known. */
  livingRuns(): RunRecord[] {
    return [...this.#records.values()].filter((record) => record.container === 'running');
  }

  /** A published port of a living run answers now, or no longer. */
  reportPort(reading: PortReading): void {
    const { runUuid, attempt, containerPort } = reading;
    this.#outbox.add({ runUuid, attempt, kind: `port ${containerPort}`, event: () => portEvent(reading) });
  }

  /** The run takes more of the node than it may: it is stopped and fails with this. */
  stopForOveruse(record: RunRecord, error: RunError): void {
    if (record.overuse !== null) return;
    this.#options.log.warn(
      { run_uuid: record.runUuid, reason: error.message },
      'stopping a run that takes too much',
    );
    record.overuse = error;
    record.overuseSinceMs = this.#options.clock.nowMs();
    this.wake();
  }

  disconnect(): void {
    this.#held = null;
    this.#connectedSinceMs = null;
    this.#hasWholeList = false;
    this.#aligned = new Set();
    this.#outbox.disconnect();
  }

  /** Ends the loop; containers stay as they are. */
  stop(): void {
    this.#stop.abort();
    this.#cancelTimer?.();
    for (const record of this.#records.values()) {
      record.shipper?.stop();
      record.pullAbort?.abort();
    }
  }

  receive(message: ServerMessage): void {
    if (this.#held !== null) {
      this.#held.push(message);
      return;
    }
    switch (message.type) {
      case 'desired':
        for (const run of message.runs) this.#want(run, message.is_complete);
        if (message.is_complete) {
          this.#dropUnnamed(new Set(message.runs.map((run) => run.run_uuid)));
          void this.#sweepVolumes();
        }
        break;
      case 'kill':
        for (const run of message.runs) this.#condemn(run);
        break;
      case 'report_ack':
        this.#acknowledge(message.sequence);
        break;
      case 'log_ack':
        this.#records.get(message.run_uuid)?.shipper?.acknowledge(message.stream, message.offset);
        return;
      default:
        return;
    }
    this.wake();
  }

  wake(): void {
    if (this.#isPassDue || this.#stop.signal.aborted) return;
    this.#isPassDue = true;
    queueMicrotask(() => this.#pass());
  }

  /** Reads the list of containers and corrects what is believed of them. */
  async resync(): Promise<void> {
    const nodeUuid = this.#requireIdentity().nodeUuid;
    const before = [...this.#records.values()].filter((record) => record.container !== 'absent');
    const listed = await this.#options.runtime.listContainers(nodeUuid);
    const own = listed.filter((container) => this.#isOwn(container));
    for (const container of own) this.#observe(container);
    this.#retired.prune();
    const listedIds = new Set(own.map(({ containerId }) => containerId));
    for (const record of before) {
      if (record.containerId === null || listedIds.has(record.containerId)) continue;
      // Named runs are inspected first: a list is not proof.
      if (this.#targets.get(record.runUuid) !== undefined) record.needsInspect = true;
      else observeGone(record, this.#options.clock.nowMs());
    }
    this.#tellOrphans();
    this.wake();
  }

  #pass(): void {
    this.#isPassDue = false;
    if (this.#stop.signal.aborted || this.#identity === null) return;
    const nowMs = this.#options.clock.nowMs();
    const { stuckAfterMs } = this.#options;
    const bound = stuckAfterMs === undefined ? {} : { stuckAfterMs };
    const current = { runs: this.#records.values(), connectedSinceMs: this.#connectedSinceMs, ...bound };
    const { steps, wakeAtMs } = nextSteps(current, this.#targets, nowMs);
    for (const step of steps) execute(this.#executorDeps, step);
    this.#options.onPass?.();
    this.#cancelTimer?.();
    this.#cancelTimer =
      wakeAtMs === null ? null : this.#options.clock.after(Math.max(1, wakeAtMs - nowMs), () => this.wake());
    if (steps.some(({ kind }) => kind === 'report')) this.wake();
  }

  #requireIdentity(): NodeIdentity {
    if (this.#identity === null) throw new Error('The control plane has not said which node this is.');
    return this.#identity;
  }

  #isOwn({ clusterUuid }: ContainerSummary): boolean {
    return clusterUuid === this.#identity?.clusterUuid;
  }

  #record(runUuid: string, attempt: number): RunRecord {
    const known = this.#records.get(runUuid);
    if (known !== undefined) return known;
    const record = newRecord(runUuid, attempt);
    this.#records.set(runUuid, record);
    return record;
  }

  #observe(container: ContainerSummary): void {
    const record = this.#record(container.runUuid, container.attempt);
    if (record.attempt === container.attempt) {
      observeListed(record, container);
      return;
    }
    // One name per run: a container of another attempt is what stands in the way of this one.
    if (record.container !== 'absent' || record.work !== null) return;
    this.#options.log.warn(
      { run_uuid: record.runUuid, attempt: container.attempt },
      'removing an older attempt',
    );
    void this.#options.runtime.removeContainer(container.containerId).catch(() => {});
  }

  #retire(record: RunRecord): void {
    const { runUuid } = record;
    record.shipper?.stop();
    this.#retired.add(record, this.#targets.get(runUuid)?.kind === 'kill');
    this.#records.delete(runUuid);
    this.#targets.delete(runUuid);
  }

  /** Whether a retired run is to stay so; one whose end the server lost is taken up again to tell it. */
  #isOver(run: DesiredRun, isComplete: boolean): boolean {
    if (this.#records.has(run.run_uuid)) return false;
    const answer = this.#retired.ask(run, isComplete);
    if (answer.kind === 'again') this.#records.set(run.run_uuid, answer.record);
    return answer.kind === 'over';
  }

  #want(run: DesiredRun, isComplete: boolean): void {
    if (this.#isOver(run, isComplete)) return;
    const record = this.#record(run.run_uuid, run.attempt);
    const known = this.#targets.get(run.run_uuid);
    if (run.attempt < record.attempt || (known !== undefined && run.attempt < known.attempt)) return;
    observeOrder(record, run, this.#options.clock.nowMs());
    this.#targets.set(run.run_uuid, toTarget(run, known, this.#options.clock.nowMs()));
    if (!this.#aligned.has(run.run_uuid)) {
      this.#aligned.add(run.run_uuid);
      record.shipper?.resend(run.log);
    }
  }

  #dropUnnamed(named: ReadonlySet<string>): void {
    for (const record of this.#records.values()) {
      if (named.has(record.runUuid) || this.#targets.get(record.runUuid)?.kind === 'kill') continue;
      this.#targets.delete(record.runUuid);
      this.#outbox.drop(record.runUuid);
      record.desired = null;
      record.shipper?.stop();
      if (record.work !== null) record.orphanSinceMs ??= this.#options.clock.nowMs();
    }
    this.#hasWholeList = true;
    this.#tellOrphans();
  }

  /** Containers that the server did not name, also those that appear later: it says which of them have ended. */
  #tellOrphans(): void {
    if (!this.#hasWholeList) return;
    const orphans = [...this.#records.values()].filter(
      ({ runUuid, container }) => container !== 'absent' && !this.#targets.has(runUuid),
    );
    if (orphans.length === 0) return;
    const fresh = orphans.filter((record) => record.orphanSinceMs === null);
    for (const record of fresh) record.orphanSinceMs = this.#options.clock.nowMs();
    const containers = orphans.flatMap(({ runUuid, attempt, container: state }) =>
      state === 'absent' ? [] : [{ run_uuid: runUuid, attempt, state }],
    );
    if (fresh.length > 0)
      this.#options.log.warn({ containers }, 'containers that the server did not name; kept for a while');
    this.#options.send({ type: 'orphans', containers });
  }

  #condemn({ run_uuid: runUuid, attempt, container_id: containerId = null }: KilledRun): void {
    const record = this.#record(runUuid, attempt);
    const known = this.#targets.get(runUuid);
    if (attempt < record.attempt || (known !== undefined && attempt < known.attempt)) return;
    if (known?.kind === 'kill' && known.attempt === attempt) return;
    record.containerId ??= containerId;
    this.#targets.set(runUuid, { kind: 'kill', attempt });
    // What it would still have told is no longer asked for, but for its end.
    this.#outbox.drop(runUuid);
    record.reports.released = 'none';
    record.shipper?.stop();
  }

  #acknowledge(sequence: number): void {
    const report = this.#outbox.acknowledge(sequence);
    const kind = reportKinds.find((word) => word === report?.kind);
    if (report === null || kind === undefined) return;
    const record = this.#records.get(report.runUuid);
    if (record?.attempt === report.attempt) record.reports[kind] = 'acked';
  }

  #watch(nodeUuid: string): void {
    const { runtime, clock, log, resyncMs: everyMs = defaultResyncMs } = this.#options;
    void watchEngine({
      ...{ runtime, clock, log, nodeUuid, everyMs, signal: this.#stop.signal },
      look: () => this.#tryResync(),
      onChange: (runUuid) => this.#changed(runUuid),
    });
  }

  #changed(runUuid: string): void {
    const record = this.#records.get(runUuid);
    if (record === undefined) {
      void this.#tryResync();
      return;
    }
    record.needsInspect = true;
    this.wake();
  }

  /** Volumes without a run: an agent that was killed while it filled them left them. */
  async #sweepVolumes(): Promise<void> {
    const { runtime, log } = this.#options;
    const identity = this.#identity;
    if (identity === null) return;
    const isLive = (runUuid: string) => this.#records.get(runUuid)?.cleanUp === 'due';
    await sweepVolumes({ runtime, log, identity, isLive }).catch((error: unknown) =>
      log.warn({ reason: String(error) }, 'volumes could not be looked through'),
    );
  }

  /** true also when the loop has stopped: nothing is left to wait for. */
  async #tryResync(): Promise<boolean> {
    try {
      await this.resync();
      return true;
    } catch (error) {
      this.#options.log.warn({ reason: String(error) }, 'the list of containers could not be read');
      return this.#stop.signal.aborted;
    }
  }
}
