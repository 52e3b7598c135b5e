// The level-triggered loop: observations and wishes come in, the rules are asked, their steps are started.
//
// A pass is synchronous, so it never overlaps itself; the work it starts runs beside it and wakes it again.
import type {
  AgentMessage,
  DesiredRun,
  Inventory,
  LogChunk,
  ObservedContainer,
  RunError,
  ServerMessage,
} from '../protocol/agent-messages.ts';
import { type Clock, sleep } from './clock.ts';
import type { ClusterMemory } from './cluster-memory.ts';
import type { NodeIdentity } from './container-order.ts';
import type { EngineHealth } from './engine-health.ts';
import { eventsRetryMs, watchEngine } from './engine-watch.ts';
import type { ExecutorDeps } from './executor-deps.ts';
import { execute } from './executors.ts';
import type { GpuGuard } from './gpu-guard.ts';
import type { Images } from './images.ts';
import type { AgentLog } from './log.ts';
import { nextSteps, orphanKeptMs, reportKinds } from './next-steps.ts';
import { OrphanTeller } from './orphans.ts';
import { Outbox } from './outbox.ts';
import { cutOff, overuseGraceMs, stopByItself } from './own-stop.ts';
import type { PortReading } from './port-probe.ts';
import { RunBook } from './run-book.ts';
import { portEvent } from './run-events.ts';
import { observeGone, observeListed, type RunRecord } from './run-record.ts';
import type { ContainerSummary, Runtime } from './runtime.ts';
import { sweepVolumes } from './volumes.ts';

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
  engine: EngineHealth;
  memory: ClusterMemory;
  /** Between two looks at the whole list; events tell of changes sooner. */
  resyncMs?: number;
  /** Another bound on a teardown than the rules' own. */
  stuckAfterMs?: number;
}

const defaultResyncMs = 5_000;

export class AgentLoop {
  readonly #options: LoopOptions;
  readonly #book: RunBook;
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
  /** The database was restored, and the admin has not said that what it does not know may go. */
  #awaitsWord = false;
  readonly #orphans: OrphanTeller;
  /** The containers were listed once: what is believed of them is not nothing. */
  #hasLooked = false;
  #isPassDue = false;
  #cancelTimer: (() => void) | null = null;

  constructor(options: LoopOptions) {
    this.#options = options;
    this.#outbox = new Outbox(options.send);
    this.#orphans = new OrphanTeller(options.send, options.log);
    this.#book = new RunBook(options.clock, this.#outbox);
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
      engine: options.engine,
      records: this.#book.records,
      targets: this.#book.targets,
      forget: (record) => this.#book.retire(record),
      wake: () => this.wake(),
      resync: () => this.resync(),
    };
  }

  /** Containers of this node for the hello: as they were last seen while the engine is away; throws if they never were. */
  async observe(nodeUuid: string): Promise<ObservedContainer[]> {
    if (this.#hasLooked && this.#options.engine.note !== null) return this.#book.containers();
    const listed = await this.#options.runtime.listContainers(nodeUuid);
    const own = this.#identity === null ? listed : listed.filter((container) => this.#isOwn(container));
    return own.map(({ runUuid, attempt, state }) => ({ run_uuid: runUuid, attempt, state }));
  }

  /** From here on containers are known to be this cluster's or not. */
  identify(identity: NodeIdentity): void {
    const isFirst = this.#identity === null;
    this.#identity = identity;
    if (isFirst) this.#watch(identity.nodeUuid);
  }

  /** The server's welcome. */
  async connect(identity: NodeIdentity, { awaitsWord }: { awaitsWord: boolean }): Promise<void> {
    this.identify(identity);
    this.#awaitsWord = awaitsWord;
    const held: ServerMessage[] = [];
    this.#held = held;
    while (!(await this.#tryResync()) && !this.#hasLooked)
      await sleep(this.#options.clock, eventsRetryMs, this.#stop.signal);
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
    return [...this.#book.records.values()].filter((record) => record.container === 'running');
  }

  /** A published port of a living run answers now, or no longer. */
  reportPort(reading: PortReading): void {
    const { runUuid, attempt, containerPort } = reading;
    this.#outbox.add({ runUuid, attempt, kind: `port ${containerPort}`, event: () => portEvent(reading) });
  }

  /** The run takes more of the node than it may: it is stopped and fails with this. */
  stopForOveruse(record: RunRecord, error: RunError): void {
    const nowMs = this.#options.clock.nowMs();
    if (!stopByItself(record, { error, graceMs: overuseGraceMs, nowMs })) return;
    this.#options.log.warn(
      { run_uuid: record.runUuid, reason: error.message },
      'stopping a run that takes too much',
    );
    this.wake();
  }

  /** The node is alone for too long: its runs are stopped, and fail with that when the server is back. */
  cutOff(): void {
    const { clock, log } = this.#options;
    const nowMs = clock.nowMs();
    const isGoingOn = ({ runUuid }: RunRecord) => (this.#book.targets.get(runUuid)?.kind ?? 'run') === 'run';
    const stopped = [...this.#book.records.values()].filter(
      (record) => isGoingOn(record) && cutOff(record, nowMs),
    );
    if (stopped.length === 0) return;
    log.warn({ run_uuids: stopped.map(({ runUuid }) => runUuid) }, 'cut off for too long; stopping the runs');
    this.wake();
  }

  disconnect(): void {
    this.#held = null;
    this.#connectedSinceMs = null;
    this.#hasWholeList = false;
    this.#aligned = new Set();
    this.#orphans.disconnect();
    this.#outbox.disconnect();
  }

  /** Ends the loop; containers stay as they are. */
  stop(): void {
    this.#stop.abort();
    this.#cancelTimer?.();
    for (const record of this.#book.records.values()) {
      record.shipper?.stop();
      record.pullAbort?.abort();
    }
  }

  /** A stop does not wait for the list of a slow engine: what was begun here would start meanwhile. It is read again with the rest. */
  #heedStops(message: ServerMessage): void {
    const isKnown = (run: { run_uuid: string }) => this.#book.records.has(run.run_uuid);
    if (message.type === 'kill') for (const run of message.runs.filter(isKnown)) this.#book.condemn(run);
    if (message.type === 'desired') {
      const stops = message.runs.filter((run) => run.desired === 'stop' && isKnown(run));
      for (const run of stops) this.#book.want(run, false);
    }
    this.wake();
  }

  receive(message: ServerMessage): void {
    if (this.#held !== null) {
      this.#held.push(message);
      this.#heedStops(message);
      return;
    }
    switch (message.type) {
      case 'desired':
        this.#options.memory.order(message.runs.map((run) => run.run_uuid));
        for (const run of message.runs) this.#want(run, message.is_complete);
        if (message.is_complete) {
          this.#book.dropUnnamed(new Set(message.runs.map((run) => run.run_uuid)));
          this.#hasWholeList = true;
          this.#tellOrphans();
          void this.#sweepVolumes();
        }
        break;
      case 'kill':
        for (const run of message.runs) this.#book.condemn(run);
        break;
      case 'restore_accepted':
        this.#acceptRestore();
        break;
      case 'report_ack':
        this.#acknowledge(message.sequence);
        break;
      case 'log_ack':
        this.#book.records.get(message.run_uuid)?.shipper?.acknowledge(message.stream, message.offset);
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
    const before = [...this.#book.records.values()].filter((record) => record.container !== 'absent');
    const listed = await this.#options.runtime.listContainers(nodeUuid);
    const own = listed.filter((container) => this.#isOwn(container));
    for (const container of own) this.#observe(container);
    this.#book.prune();
    const listedIds = new Set(own.map(({ containerId }) => containerId));
    for (const record of before) {
      if (record.containerId === null || listedIds.has(record.containerId)) continue;
      // Named runs are inspected first: a list is not proof.
      if (this.#book.targets.get(record.runUuid) !== undefined) record.needsInspect = true;
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
    const current = {
      ...{ runs: this.#book.records.values(), connectedSinceMs: this.#connectedSinceMs },
      ...{ isHeld: this.#awaitsWord, ...bound },
    };
    const { steps, wakeAtMs } = nextSteps(current, this.#book.targets, nowMs);
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

  #observe(container: ContainerSummary): void {
    const record = this.#book.record(container.runUuid, container.attempt);
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

  #want(run: DesiredRun, isComplete: boolean): void {
    const record = this.#book.want(run, isComplete);
    if (record === null || this.#aligned.has(run.run_uuid)) return;
    this.#aligned.add(run.run_uuid);
    record.shipper?.resend(run.log);
  }

  #tellOrphans(): void {
    if (!this.#hasWholeList) return;
    const nowMs = this.#options.clock.nowMs();
    this.#orphans.tell(this.#book.orphans(), { nowMs, isHeld: this.#awaitsWord });
  }

  /** The admin has seen what the database does not know: it goes now, and later finds after the usual time. */
  #acceptRestore(): void {
    this.#awaitsWord = false;
    const dueSinceMs = this.#options.clock.nowMs() - orphanKeptMs;
    for (const record of this.#book.records.values())
      if (record.orphanSinceMs !== null) record.orphanSinceMs = dueSinceMs;
    void this.#sweepVolumes();
  }

  #acknowledge(sequence: number): void {
    const report = this.#outbox.acknowledge(sequence);
    const kind = reportKinds.find((word) => word === report?.kind);
    if (report === null || kind === undefined) return;
    const record = this.#book.records.get(report.runUuid);
    if (record?.attempt === report.attempt) record.reports[kind] = 'acked';
  }

  #watch(nodeUuid: string): void {
    const { runtime, clock, log, engine, resyncMs: everyMs = defaultResyncMs } = this.#options;
    void watchEngine({
      ...{ runtime, clock, log, nodeUuid, everyMs, signal: this.#stop.signal },
      look: () => this.#tryResync(),
      onBreak: () => engine.brokeOff(),
      onChange: (runUuid) => this.#changed(runUuid),
    });
  }

  #changed(runUuid: string): void {
    const record = this.#book.records.get(runUuid);
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
    if (identity === null || this.#awaitsWord) return;
    const isLive = (runUuid: string) => this.#book.records.get(runUuid)?.cleanUp === 'due';
    await sweepVolumes({ runtime, log, identity, isLive }).catch((error: unknown) =>
      log.warn({ reason: String(error) }, 'volumes could not be looked through'),
    );
  }

  /** true also when the loop has stopped: nothing is left to wait for. */
  async #tryResync(): Promise<boolean> {
    const { engine, log } = this.#options;
    try {
      await this.resync();
      this.#hasLooked = true;
      engine.answered();
      return true;
    } catch (error) {
      if (this.#stop.signal.aborted) return true;
      if (engine.note === null)
        log.warn({ reason: String(error) }, 'the list of containers could not be read');
      engine.failed(error);
      return false;
    }
  }
}
