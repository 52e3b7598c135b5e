// What must never be, checked after each statement that wrote and at each start of a container.
import { isTerminal } from '../../src/domain/job.ts';
import { maxLostRetries } from '../../src/domain/replacement.ts';
import { reachableCells } from '../../src/domain/state-table.ts';
import type { SimulatedContainer } from './container.ts';
import type { Change, EventFacts, JobFacts, Model, NodeFacts, RunFacts } from './model.ts';
import type { Heard } from './network.ts';
import type { SimulatedNode } from './node.ts';
import type { World } from './world.ts';

const cells = new Set(reachableCells.map(({ job, run }) => `${job}/${run}`));
/** A message that an agent has read is acted on within this. */
const heededMs = 1_000;
/** A node without a fault of its own is connected again within this. */
const reconnectMs = 45_000;
const rounding = 1e-6;

export class Invariants {
  readonly #world: World;
  readonly #model: Model;
  readonly #nodes: ReadonlyMap<string, SimulatedNode>;
  /** By run: when the agent that has it read that it must end. */
  readonly #toldToStopAtMs = new Map<string, number>();
  /** By job: its status and that of its newest run, as they were last. */
  readonly #cellOfJob = new Map<string, string>();
  /** By node: when a fault of its own was last at work. */
  readonly faultyUntilMs = new Map<string, number>();
  /** By run whose node was given up: since when. */
  readonly #fencedAtMs = new Map<string, number>();
  /** By connection: the runs of its kill lists. */
  readonly #killed = new WeakMap<object, Set<string>>();
  /** A job and its newest run have other statuses than before. */
  onCell: (jobId: string, cell: string) => void = () => {};

  constructor(world: World, model: Model, nodes: ReadonlyMap<string, SimulatedNode>) {
    this.#world = world;
    this.#model = model;
    this.#nodes = nodes;
  }

  /** All changes of one commit. */
  applyCommit(changes: readonly Change[]): void {
    const events = changes.flatMap((change) =>
      change.kind === 'event' && change.now !== null ? [change.now] : [],
    );
    for (const change of changes) {
      this.#model.apply(change);
      this.#note(change);
    }
    for (const change of changes) {
      if (change.kind === 'job') this.#checkJob(change.was, change.now);
      if (change.kind === 'run') this.#checkRun(change.was, change.now, events);
      if (change.kind === 'node') this.#checkNode(change.was, change.now);
    }
    const jobIds = changes.flatMap((change) => jobOf(change) ?? []);
    for (const jobId of new Set(jobIds)) this.#checkLife(jobId);
    const nodeIds = changes.flatMap((change) => nodeOf(change) ?? []);
    for (const nodeId of new Set(nodeIds)) this.#checkCapacity(nodeId);
  }

  /** An agent reads this message. */
  heard({ text, connection }: Heard): void {
    const isKill = text.startsWith('{"type":"kill"');
    const isWholeList = text.startsWith('{"type":"desired","is_complete":true');
    if (isWholeList) this.#checkKilled(connection);
    if (!isKill && !text.includes('"desired":"stop"')) return;
    const { runs = [] } = JSON.parse(text) as { runs?: { run_uuid: string; desired?: string }[] };
    for (const { run_uuid, desired } of runs)
      if (desired !== 'run' && !this.#toldToStopAtMs.has(run_uuid))
        this.#toldToStopAtMs.set(run_uuid, this.#world.nowMs);
    if (isKill) for (const { run_uuid } of runs) this.#killedBy(connection).add(run_uuid);
  }

  #killedBy(connection: object): Set<string> {
    const known = this.#killed.get(connection);
    if (known !== undefined) return known;
    const killed = new Set<string>();
    this.#killed.set(connection, killed);
    return killed;
  }

  /** What was given up before the agent dialled, and is still there. */
  #checkKilled(connection: Heard['connection']): void {
    const node = [...this.#nodes.values()].find(({ shape }) => shape.name === connection.nodeName);
    for (const { id, runUuid } of node?.engine.containers.values() ?? []) {
      const fencedAtMs = this.#fencedAtMs.get(runUuid);
      if (fencedAtMs === undefined || fencedAtMs >= connection.dialledAtMs) continue;
      if (!this.#killedBy(connection).has(runUuid))
        this.#violate(
          'the kill list comes first',
          `${id} of run ${runUuid}, which was given up, is not named to ${connection.nodeName}`,
        );
    }
  }

  /** Right before the container's program begins. */
  starting(node: SimulatedNode, container: SimulatedContainer): void {
    const { runUuid, jobUuid, id } = container;
    const run = this.#model.runs.get(runUuid);
    if (run === undefined) {
      this.#violate('no start without a run', `${id} runs ${runUuid}`);
      return;
    }
    const isFenced = this.#model.fenced.has(runUuid);
    if (run.released_at !== null && !isFenced)
      this.#violate('no start after the proof of the end', `${id} of run ${runUuid}, which is ${run.status}`);
    const toldAtMs = this.#toldToStopAtMs.get(runUuid);
    if (toldAtMs !== undefined && this.#world.nowMs > toldAtMs + heededMs)
      this.#violate(
        'no start after a stop',
        `${id} of run ${runUuid}, told to stop at ${toldAtMs.toFixed(0)}`,
      );
    if (container.gpuUuids.some((uuid) => node.isGpuUsed(uuid)))
      this.#violate('a GPU serves one container', `${id} on ${node.shape.name}`);
    if (!isFenced) this.#checkOnlyAttempt(container, jobUuid);
  }

  #checkOnlyAttempt(container: SimulatedContainer, jobUuid: string): void {
    for (const { engine } of this.#nodes.values())
      for (const other of engine.containers.values())
        if (other.jobUuid === jobUuid && other.word === 'running' && !this.#model.fenced.has(other.runUuid))
          this.#violate('one live attempt a job', `${container.id} starts while ${other.id} runs`);
  }

  #note(change: Change): void {
    const { was, now } = change;
    if (change.kind === 'event') {
      const { kind, from_status, to_status } = change.now ??
        change.was ?? { kind: '', from_status: '', to_status: '' };
      this.#world.count(`event: ${kind} ${from_status} → ${to_status}`);
      const runId = change.now?.run_id ?? null;
      if (kind === 'node_lost' && runId !== null) this.#fencedAtMs.set(runId, this.#world.nowMs);
    } else if ((change.kind === 'job' || change.kind === 'run') && was !== null && now !== null) {
      if (change.was?.status !== change.now?.status)
        this.#world.count(`${change.kind}: ${change.was?.status} → ${change.now?.status}`);
    }
    this.#world.note(`  ${change.kind} ${textOf(was)} → ${textOf(now)}`);
  }

  #checkJob(was: JobFacts | null, now: JobFacts | null): void {
    if (was === null) return;
    if (now === null) {
      this.#violate('no job is lost', `job ${was.id} is gone`);
      return;
    }
    if (isTerminal(was.status) && was.status !== now.status)
      this.#violate('terminal absorbs', `job ${was.id} went from ${was.status} to ${now.status}`);
  }

  #checkRun(was: RunFacts | null, now: RunFacts | null, events: readonly EventFacts[]): void {
    if (now === null) {
      this.#violate('no run is lost', `run ${was?.id} is gone`);
      return;
    }
    if (was === null) {
      this.#checkPlacement(now);
      return;
    }
    if (isTerminal(was.status) && was.status !== now.status)
      this.#violate('terminal absorbs', `run ${was.id} went from ${was.status} to ${now.status}`);
    if (was.released_at !== null && now.released_at !== was.released_at)
      this.#violate('resources return once', `run ${was.id} was released again`);
    if (was.released_at === null && now.released_at !== null) this.#checkRelease(now, events);
    if (!isTerminal(was.status) && isTerminal(now.status)) this.#checkEnd(now, events);
  }

  /** An end that an agent tells of has happened, and as it tells. */
  #checkEnd(run: RunFacts, events: readonly EventFacts[]): void {
    if (!events.some((event) => event.run_id === run.id && event.kind === 'exited')) return;
    const containers = this.#nodes.get(run.node_id)?.engine.containersOf(run.id) ?? [];
    for (const { id, word, exitCode } of containers) {
      if (word === 'running')
        this.#violate('what is told of an end is true', `${id} of run ${run.id} runs, told ${run.status}`);
      else if (
        word === 'exited' &&
        !isStoppedByNode(run) &&
        (exitCode === 0) !== (run.status === 'COMPLETED')
      )
        this.#violate(
          'what is told of an end is true',
          `${id} of run ${run.id} ended with ${exitCode}, told ${run.status}`,
        );
    }
    if (containers.length === 0 && run.status === 'COMPLETED')
      this.#violate(
        'what is told of an end is true',
        `run ${run.id} is told COMPLETED, and no container of it is there`,
      );
  }

  #checkPlacement(run: RunFacts): void {
    const job = this.#model.jobs.get(run.job_id);
    const others = this.#model.runsOf(run.job_id).filter(({ id }) => id !== run.id);
    const lost = others.filter(isLost).length;
    const failed = others.filter(isOwnFailure).length;
    if (others.some(({ status }) => !isTerminal(status)))
      this.#violate('one live attempt a job', `run ${run.id} of job ${run.job_id} beside one that lives`);
    if (job !== undefined && failed > job.max_retry_count)
      this.#violate('the retry count holds', `run ${run.id} is try ${failed + 1} of job ${job.id}`);
    if (lost > maxLostRetries) this.#violate('the retry count holds', `job ${run.job_id} lost ${lost} runs`);
  }

  /** Resources are back: only by proof that nothing is left, or by fencing the node. */
  #checkRelease(run: RunFacts, events: readonly EventFacts[]): void {
    const cause = events.find((event) => event.run_id === run.id);
    if (cause?.kind === 'node_lost') {
      if (this.#model.nodes.get(run.node_id)?.status === 'ready')
        this.#violate('released after proof or fencing', `run ${run.id} was fenced on a ready node`);
      return;
    }
    const engine = this.#nodes.get(run.node_id)?.engine;
    if (engine === undefined) return;
    const [container] = engine.containersOf(run.id);
    if (container !== undefined)
      this.#violate(
        'released after proof or fencing',
        `${container.id} of run ${run.id} is still ${container.word}`,
      );
    if (engine.volumes.has(run.id))
      this.#violate('released after proof or fencing', `volumes of run ${run.id} are still there`);
  }

  #checkNode(was: NodeFacts | null, now: NodeFacts | null): void {
    if (now === null || was === null || was.status === now.status) return;
    this.#world.count(`node: ${was.status} → ${now.status}`);
    const calmMs = this.#world.nowMs - (this.faultyUntilMs.get(now.id) ?? 0);
    if (now.status === 'lost' && calmMs > reconnectMs)
      this.#violate(
        'our outage is no loss',
        `node ${now.id} is lost, though fine for ${calmMs.toFixed(0)} ms`,
      );
  }

  #checkLife(jobId: string): void {
    const job = this.#model.jobs.get(jobId);
    if (job === undefined) return;
    const run = job.last_run_id === null ? null : (this.#model.runs.get(job.last_run_id) ?? null);
    const cell = `${job.status}/${run?.status ?? 'none'}`;
    if (!cells.has(cell)) this.#violate('job and run agree', `job ${jobId} is ${cell}`);
    const before = this.#cellOfJob.get(jobId);
    if (before !== undefined && before !== cell) this.#world.count(`edge: ${before} → ${cell}`);
    if (before !== cell) this.onCell(jobId, cell);
    this.#cellOfJob.set(jobId, cell);
    const runs = this.#model.runsOf(jobId);
    if (runs.filter(({ status }) => !isTerminal(status)).length > 1)
      this.#violate('one live attempt a job', `job ${jobId} has two live runs`);
    const failed = runs.filter(isOwnFailure).length;
    if (job.failed_run_count !== failed)
      this.#violate(
        'a failure counts once',
        `job ${jobId} counts ${job.failed_run_count} of ${failed} failures`,
      );
  }

  #checkCapacity(nodeId: string): void {
    const node = this.#model.nodes.get(nodeId);
    if (node === undefined) return;
    const held = this.#model.heldRuns(nodeId);
    for (const [what, of, allocated, total] of [
      ['CPUs', (run: RunFacts) => run.cpu_count, node.cpu_allocated, node.cpu_count],
      ['bytes of RAM', (run: RunFacts) => run.ram_bytes, node.ram_allocated, node.ram_bytes],
      ['bytes of disk', (run: RunFacts) => run.storage_bytes, node.storage_allocated, node.storage_bytes],
      ['runs', () => 1, node.run_count, Number.POSITIVE_INFINITY],
    ] as const) {
      const sum = held.reduce((total, run) => total + of(run), 0);
      if (Math.abs(sum - allocated) > rounding)
        this.#violate(
          'a node counts what its runs hold',
          `${nodeId} counts ${allocated} ${what}, its runs hold ${sum}`,
        );
      if (sum > total + rounding)
        this.#violate('no node over capacity', `${nodeId} has ${total} ${what}, its runs hold ${sum}`);
    }
    this.#checkGpus(nodeId, held);
  }

  #checkGpus(nodeId: string, held: readonly RunFacts[]): void {
    const owners = new Map<string, string>();
    for (const run of held)
      for (const uuid of run.gpu_uuids) {
        if (owners.has(uuid))
          this.#violate('a GPU has one run', `${uuid} has ${owners.get(uuid)} and ${run.id}`);
        owners.set(uuid, run.id);
        if (this.#model.gpus.get(`${nodeId} ${uuid}`) !== run.id)
          this.#violate('a GPU has one run', `${uuid} of run ${run.id} is not marked as its own`);
      }
    for (const [key, runId] of this.#model.gpus)
      if (key.startsWith(nodeId) && owners.get(key.slice(nodeId.length + 1)) !== runId)
        this.#violate('no GPU leaks', `${key} is held by run ${runId}, which holds nothing`);
  }

  #violate(invariant: string, message: string): void {
    this.#world.violate(invariant, message);
  }
}

const failedStatuses: readonly string[] = ['FAILING', 'FAILED'];
const lostCodes: readonly (string | undefined)[] = ['node_lost', 'cut_off'];

function isLost({ status, status_detail }: RunFacts): boolean {
  return status === 'FAILED' && lostCodes.includes(status_detail?.code);
}

/** The node ended it, and it may have ended well. */
function isStoppedByNode({ status_detail }: RunFacts): boolean {
  return status_detail?.code === 'cut_off' || status_detail?.code === 'storage_exceeded';
}

/** A drained node's run fails, and counts for nothing. */
function isOwnFailure(run: RunFacts): boolean {
  return failedStatuses.includes(run.status) && !isLost(run) && run.status_detail?.code !== 'node_drained';
}

function jobOf({ kind, was, now }: Change): string | undefined {
  if (kind === 'job') return (now ?? was)?.id;
  return kind === 'run' ? (now ?? was)?.job_id : undefined;
}

function nodeOf({ kind, was, now }: Change): string | undefined {
  if (kind === 'node') return (now ?? was)?.id;
  return kind === 'run' || kind === 'gpu' ? (now ?? was)?.node_id : undefined;
}

/** The words of a row that a trace needs. */
function textOf(row: object | null): string {
  if (row === null) return '-';
  const { id, job_id, status, released_at, teardown_state, kind, desired } = row as Record<string, unknown>;
  const words = [
    id ?? job_id,
    kind,
    status,
    desired,
    teardown_state,
    released_at === null ? '' : released_at,
  ];
  return words.filter((word) => word !== undefined && word !== null && word !== '').join(' ');
}
