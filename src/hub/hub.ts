// The hub: agents' control connections of this replica: hello, kill list, desired list, reports, logs, leases.
import type { IncomingMessage, Server } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Logger } from 'pino';
import type { Static } from 'typebox';
import { WebSocketServer } from 'ws';
import type { Cluster } from '../db/cluster.ts';
import type { Database } from '../db/database.ts';
import { countRefused } from '../db/gateway-ports.ts';
import type { Hint, Hints } from '../db/hints.ts';
import { awaitRunWrites, listNodeRuns, type NodeRun } from '../db/job-runs.ts';
import { connectNode } from '../db/node-leases.ts';
import { defaultLogCap } from '../db/run-logs.ts';
import type { Vault } from '../db/vault.ts';
import { defaultLeaseMs } from '../domain/silence.ts';
import { every, type Timers } from '../domain/timers.ts';
import {
  type AgentMessage,
  agentConnectPath,
  type Hello,
  type NodePort,
  protocolVersion,
  type Report,
  silenceLimitMs,
} from '../protocol/agent-messages.ts';
import { upgradeRefusal } from '../protocol/upgrade-refusal.ts';
import { orderOf, toDesiredRun } from './desired.ts';
import { storeInventory } from './inventory.ts';
import { killAtHello, killEnded } from './kill-list.ts';
import { NodeLeases } from './leases.ts';
import { createLogSink } from './log-sink.ts';
import { refuseRemoved, refuseRevoked, tellStandings } from './node-standing.ts';
import { judgeOrphans } from './orphans.ts';
import { createReportSink } from './reports.ts';
import { NodeSamples } from './samples.ts';
import { type AgentIdentity, AgentSession, type AgentSocket, type CorkedStream } from './session.ts';
import { Wakefulness } from './wakefulness.ts';

export interface HubOptions {
  database: Database;
  vault: Vault;
  hints: Hints;
  cluster: Cluster;
  log: Logger;
  /** Checks the signature of an upgrade; throws an error with `status`, `code` and `message` to refuse. */
  authenticate: (request: IncomingMessage) => Promise<AgentIdentity>;
  /** Monotonic milliseconds. */
  monotonicNow: () => number;
  timers: Timers;
  heartbeatMs?: number;
  leaseMs?: number;
}

const defaultHeartbeatMs = 3_000;
const leaseFlushMs = 1_000;
/** Between two samples of a node; more often costs the database rows, less often hides what was short. */
const sampleMs = 10_000;
/** The safety net under lost hints. */
const resyncMs = 5_000;
const maxMessageBytes = 16 * 1024 * 1024;

export class Hub {
  readonly #options: HubOptions;
  readonly #sockets = new WebSocketServer({ noServer: true, maxPayload: maxMessageBytes });
  /** By node; a newer connection takes the place of an older one. */
  readonly #sessions = new Map<string, AgentSession>();
  /** Those that have not said hello included. */
  readonly #connected = new Set<AgentSession>();
  readonly #wakefulness: Wakefulness;
  readonly #leases: NodeLeases;
  readonly #samples: NodeSamples;
  readonly #dirty = new Set<string>();
  readonly #reports: ReturnType<typeof createReportSink>;
  readonly #logs: ReturnType<typeof createLogSink>;
  /** What ends with the hub. */
  readonly #endings: (() => void)[];
  #pushing: Promise<void> | undefined;

  constructor(options: HubOptions) {
    this.#options = options;
    const { database, hints, log, monotonicNow, timers } = options;
    const { heartbeatMs = defaultHeartbeatMs } = options;
    this.#wakefulness = new Wakefulness(monotonicNow, silenceLimitMs(heartbeatMs) - leaseFlushMs);
    const onError = (error: unknown) =>
      log.error({ err: error }, 'The hub could not write what agents sent.');
    this.#reports = createReportSink({
      database,
      hints,
      monotonicNow,
      onError,
      onRefused: ({ session, runId }) =>
        log.warn(
          { node_uuid: session.identity.nodeId, run_uuid: runId },
          'A node reported on a run that is not its own.',
        ),
    });
    const { leaseMs = defaultLeaseMs } = options;
    this.#leases = new NodeLeases({
      ...{ database, hints, log, monotonicNow, leaseMs },
      sessions: this.#sessions,
    });
    this.#samples = new NodeSamples({ database, log });
    this.#logs = createLogSink({ database, hints, onError, cap: defaultLogCap });
    const unsubscribe = hints.subscribe((hint) => {
      if (hint.kind === 'node') this.#look(hint.nodeId);
      if (hint.kind === 'key') this.#expel(hint.publicKey);
      if (hint.kind === 'dial') this.#dial(hint);
      if (hint.kind === 'missed') this.#resync();
    });
    this.#endings = [
      unsubscribe,
      every(timers, leaseFlushMs, () => {
        if (!this.#isAwake()) return;
        void this.#leases.flush();
        void this.#samples.flush();
      }),
      every(timers, resyncMs, () => this.#resync()),
    ];
  }

  /** Takes WebSocket upgrades on the agents' path of this server; `others` are asked first, and answer what they take. */
  attach(server: Server, others: readonly UpgradeTaker[] = []): void {
    server.on('upgrade', (request, socket, head) => {
      socket.on('error', () => socket.destroy());
      if (!others.some((take) => take(request, socket, head))) void this.#upgrade(request, socket, head);
    });
  }

  /** Tells agents of this replica the public ports of their nodes that they serve themselves; only what changed travels. */
  tellPorts(byNode: ReadonlyMap<string, readonly NodePort[]>): void {
    for (const [nodeId, session] of this.#sessions)
      if (session.isReady) session.tellPorts(byNode.get(nodeId) ?? []);
  }

  get sessionCount(): number {
    return this.#sessions.size;
  }

  /** Lets go of all agents; they dial another replica or wait for us. Runs are not touched. */
  async close(): Promise<void> {
    for (const end of this.#endings) end();
    for (const session of this.#sessions.values()) session.leave();
    await Promise.all([this.#reports.drain(), this.#logs.drain(), this.#pushing]);
    for (const client of this.#sockets.clients) client.terminate();
    this.#sockets.close();
  }

  async #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    if (request.url?.split('?', 1)[0] !== agentConnectPath) {
      const message = 'Nothing to upgrade to on this path.';
      socket.end(upgradeRefusal({ status: 404, code: 'not_found', message }));
      return;
    }
    try {
      const identity = await this.#options.authenticate(request);
      this.#sockets.handleUpgrade(request, socket, head, (client) => this.accept(client, socket, identity));
    } catch (error) {
      socket.end(upgradeRefusal(error));
    }
  }

  /** Takes a connection whose dialler has proved who it is. */
  accept(socket: AgentSocket, stream: CorkedStream, identity: AgentIdentity): void {
    const { log, timers } = this.#options;
    const events = {
      message: (session: AgentSession, message: AgentMessage) => {
        if (this.#isAwake()) this.#receive(session, message);
      },
      closed: (session: AgentSession) => this.#forget(session),
      malformed: (session: AgentSession, text: string) =>
        log.warn({ node_uuid: session.identity.nodeId, text }, 'Malformed agent message.'),
    };
    this.#connected.add(new AgentSession(socket, stream, { identity, events, timers }));
  }

  /**
   * A process that was stopped lets go of its agents before it hears what they said: they have gone elsewhere since, and
   * said what came later there.
   */
  #isAwake(): boolean {
    const sleptMs = this.#wakefulness.note();
    if (sleptMs === null) return true;
    this.#options.log.warn(
      { slept_ms: Math.round(sleptMs) },
      'This process was stopped; its agents dial again.',
    );
    for (const session of this.#connected) session.terminate();
    return false;
  }

  #receive(session: AgentSession, message: AgentMessage): void {
    const { nodeId } = session.identity;
    this.#leases.note(nodeId);
    switch (message.type) {
      case 'hello':
        void this.#welcome(session, message).catch((error) => this.#fail(session, error));
        return;
      case 'heartbeat':
        return;
      case 'sample':
        this.#samples.note(session, message);
        return;
      case 'inventory':
        storeInventory(session, message.inventory, {
          ...this.#options,
          onError: (error) => this.#fail(session, error),
        });
        return;
      case 'report':
        this.#report(session, message);
        return;
      case 'log':
        this.#logs.add({ session, chunk: message });
        return;
      case 'refusals':
        countRefused(this.#options.database, countsOf(message.ports), nodeId).catch((error) =>
          this.#options.log.warn({ err: error, node_uuid: nodeId }, 'Refused connections were not counted.'),
        );
        return;
      case 'orphans':
        void judgeOrphans(this.#options, session, message.containers).catch((error) =>
          this.#fail(session, error),
        );
    }
  }

  /** A GPU that is not clean must be known before the run that left it gives it back. */
  #report(session: AgentSession, message: Static<typeof Report>): void {
    const report = {
      session,
      sequence: message.sequence,
      runId: message.run_uuid,
      attempt: message.attempt,
      event: message.event,
      receivedAtMs: this.#options.monotonicNow(),
    };
    if (message.event.kind === 'released') session.releasedRuns.add(message.run_uuid);
    if (message.event.kind !== 'released' || session.inventoryWritten === null) this.#reports.add(report);
    else void session.inventoryWritten.then(() => this.#reports.add(report));
  }

  async #welcome(session: AgentSession, hello: Static<typeof Hello>): Promise<void> {
    const { database, vault, cluster, hints, log } = this.#options;
    const { nodeId } = session.identity;
    if (hello.protocol !== protocolVersion && hello.protocol !== protocolVersion - 1) {
      session.refuse(
        'protocol_unsupported',
        `This server speaks agent protocol ${protocolVersion}, the agent ${hello.protocol}; update the older of the two.`,
      );
      return;
    }
    session.lifeId = hello.session_uuid;
    session.knowsOthers = (hello.server_count ?? 1) > 1;
    const connected = await connectNode(database, {
      nodeId,
      sessionId: hello.session_uuid,
      agentVersion: hello.agent_version,
      inventory: hello.inventory,
      leaseMs: this.#options.leaseMs ?? defaultLeaseMs,
      memory: { generation: hello.cluster_generation ?? 0, orders: hello.last_orders ?? [] },
    });
    if (connected === null) return refuseRemoved(session);
    session.awaitsWord = connected.awaitsWord;
    session.hello = connected.hello;
    this.#replace(nodeId, session);
    session.send({
      type: 'welcome',
      protocol: protocolVersion,
      cluster_uuid: cluster.id,
      cluster_generation: connected.generation,
      node_uuid: nodeId,
      heartbeat_ms: this.#options.heartbeatMs ?? defaultHeartbeatMs,
      awaits_word: connected.awaitsWord,
      sample_ms: sampleMs,
    });
    await killAtHello(
      database,
      session,
      hello.containers.map((container) => container.run_uuid),
    );
    // Reports of an earlier life of this agent count no more from here on.
    await awaitRunWrites(database, nodeId);
    const runs = await listNodeRuns(database, vault, [nodeId]);
    session.send({ type: 'desired', is_complete: true, runs: runs.map(toDesiredRun) });
    for (const run of runs) session.sentOrders.set(run.runId, orderOf(run));
    session.isReady = true;
    // What changed while we were reading.
    this.#markDirty(nodeId);
    hints.publish({ kind: 'schedule' });
    log.info(
      { node_uuid: nodeId, agent_version: hello.agent_version, runs: runs.length },
      'An agent connected.',
    );
  }

  #dial({ nodeId, url, ticket, count }: Hint & { kind: 'dial' }): void {
    this.#sessions.get(nodeId)?.send({ type: 'dial', url, ticket, count });
  }

  /** A revoked key ends the connection it opened. */
  #expel(publicKey: string): void {
    for (const session of this.#sessions.values())
      if (session.identity.publicKey === publicKey) refuseRevoked(session);
  }

  #replace(nodeId: string, session: AgentSession): void {
    const older = this.#sessions.get(nodeId);
    this.#sessions.set(nodeId, session);
    if (older !== undefined && older !== session) older.close('a newer connection of this node');
  }

  #forget(session: AgentSession): void {
    this.#connected.delete(session);
    const { nodeId } = session.identity;
    if (this.#sessions.get(nodeId) !== session) return;
    this.#sessions.delete(nodeId);
    this.#options.log.info({ node_uuid: nodeId }, 'An agent disconnected.');
  }

  #fail(session: AgentSession, error: unknown): void {
    this.#options.log.error(
      { err: error, node_uuid: session.identity.nodeId },
      'An agent could not be served; it will dial again.',
    );
    session.leave();
  }

  #markDirty(nodeId: string): void {
    if (!this.#sessions.has(nodeId)) return;
    this.#dirty.add(nodeId);
    this.#pushing ??= new Promise<void>((resolve) => setImmediate(resolve)).then(() => this.#push());
  }

  /** What is wanted of the node may have changed. */
  #look(nodeId: string): void {
    this.#markDirty(nodeId);
    if (this.#sessions.get(nodeId)?.awaitsWord) this.#tellStandings();
  }

  #resync(): void {
    for (const nodeId of this.#sessions.keys()) this.#markDirty(nodeId);
    if (this.#sessions.size === 0) return;
    this.#tellStandings();
  }

  #tellStandings(): void {
    tellStandings(this.#options.database, this.#sessions).catch((error) =>
      this.#options.log.warn({ err: error }, 'The standing of nodes could not be read; the next look will.'),
    );
  }

  /** Sends the agents of nodes marked dirty what changed for them. */
  async #push(): Promise<void> {
    while (this.#dirty.size > 0) {
      const nodeIds = [...this.#dirty];
      this.#dirty.clear();
      try {
        const runs = await listNodeRuns(this.#options.database, this.#options.vault, nodeIds);
        const byNode = Map.groupBy(runs, (run) => run.nodeId);
        for (const nodeId of nodeIds) this.#sendChanges(nodeId, byNode.get(nodeId) ?? []);
      } catch (error) {
        this.#options.log.warn({ err: error }, 'Desired runs could not be read; the next look will.');
      }
    }
    this.#pushing = undefined;
  }

  #sendChanges(nodeId: string, runs: NodeRun[]): void {
    const session = this.#sessions.get(nodeId);
    if (session === undefined || !session.isReady) return;
    const held = new Set(runs.map((run) => run.runId));
    const gone = [...session.sentOrders.keys()].filter((runId) => !held.has(runId));
    for (const runId of gone) session.sentOrders.delete(runId);
    // Over without the agent's own report: given up while it was thought lost. At hello it gets its whole kill list.
    const notByItself = gone.filter((runId) => !session.releasedRuns.delete(runId));
    killEnded(this.#options.database, session, notByItself).catch((error) => this.#fail(session, error));
    const changed = runs.filter((run) => session.sentOrders.get(run.runId) !== orderOf(run));
    if (changed.length === 0) return;
    session.send({ type: 'desired', is_complete: false, runs: changed.map(toDesiredRun) });
    for (const run of changed) session.sentOrders.set(run.runId, orderOf(run));
  }
}

/** Answers false when the upgrade is for somebody else. */
export type UpgradeTaker = (request: IncomingMessage, socket: Duplex, head: Buffer) => boolean;

function countsOf(ports: readonly { port: number; count: number }[]): Map<number, number> {
  return new Map(ports.map(({ port, count }) => [port, count]));
}
