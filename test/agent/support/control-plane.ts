// A control plane for the agent's tests: speaks the agent's messages, stores reports and logs, acknowledges them.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Static } from 'typebox';
import { type WebSocket, WebSocketServer } from 'ws';
import {
  type AgentMessage,
  agentConnectPath,
  type ContainerOrder,
  type DesiredRun,
  type Hello,
  type Inventory,
  type LogChunk,
  type LogStream,
  type Orphans,
  protocolVersion,
  type RunEvent,
  type ServerMessage,
} from '../../../src/protocol/agent-messages.ts';
import type { Sample } from '../../../src/protocol/hardware.ts';

export type EventOf<K extends RunEvent['kind']> = Extract<RunEvent, { kind: K }>;

interface StoredRun {
  desired: DesiredRun;
  events: { event: RunEvent; atMs: number; connection: number }[];
  logs: Record<LogStream, { chunks: Buffer[]; length: number; position: string | null }>;
}

export interface RunOptions extends Partial<Omit<DesiredRun, 'container'>> {
  container?: Partial<ContainerOrder>;
}

const waitLimitMs = 30_000;

export class ControlPlane {
  readonly clusterUuid: string;
  readonly nodeUuid: string;
  readonly runs = new Map<string, StoredRun>();
  readonly hellos: Hello[] = [];
  readonly orphans: Static<typeof Orphans>['containers'][] = [];
  /** Welcomes say that the database was restored. */
  awaitsWord = false;
  /** Changes told after the hello. */
  readonly inventories: Inventory[] = [];
  readonly samples: Sample[] = [];
  /** How often welcomes ask for a sample; null: a server that does not know them. */
  sampleMs: number | null = null;
  /** Log chunks that neither continue what is stored nor repeat it: each is a lost or doubled byte. */
  readonly logFaults: string[] = [];
  /** What the upgrade requests carried. */
  readonly upgradeHeaders: Record<string, unknown>[] = [];
  refusal: { code: string; message: string } | null = null;
  isReportAcked = true;
  isLogAcked = true;
  connectionCount = 0;
  readonly #server: Server;
  readonly #sockets: WebSocketServer;
  #socket: WebSocket | null = null;
  #waiters = new Set<() => void>();
  #port = 0;

  constructor(identity: { clusterUuid?: string; nodeUuid?: string } = {}) {
    this.clusterUuid = identity.clusterUuid ?? randomUUID();
    this.nodeUuid = identity.nodeUuid ?? randomUUID();
    this.#server = createServer((_request, response) => response.writeHead(404).end());
    this.#sockets = new WebSocketServer({ server: this.#server, path: agentConnectPath });
    this.#sockets.on('connection', (socket, request) => {
      this.upgradeHeaders.push(request.headers);
      this.#accept(socket);
    });
  }

  async listen(): Promise<this> {
    this.#server.listen(this.#port, '127.0.0.1');
    await once(this.#server, 'listening');
    this.#port = (this.#server.address() as AddressInfo).port;
    return this;
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  async close(): Promise<void> {
    this.#sockets.close();
    await this.goAway();
  }

  /** As a server that is down; `listen` brings it back. */
  async goAway(): Promise<void> {
    this.dropConnections();
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /** Cuts what is connected; the agent may come back. */
  dropConnections(): void {
    for (const socket of this.#sockets.clients) socket.terminate();
  }

  /** As a peer behind a broken network: connected, but neither hears nor answers. */
  fallSilent(): void {
    this.#socket?.pause();
  }

  /** Wants a run and tells the agent at once. */
  want(options: RunOptions = {}): string {
    const desired = aDesiredRun(options);
    this.runs.set(desired.run_uuid, {
      desired,
      events: [],
      logs: { stdout: noLog(), stderr: noLog() },
    });
    this.send({ type: 'desired', is_complete: false, runs: [this.#named(desired.run_uuid)] });
    return desired.run_uuid;
  }

  wantStop(runUuid: string, graceMs: number, requestedMsAgo = 0): void {
    const { desired } = this.run(runUuid);
    desired.desired = 'stop';
    desired.stop = { grace_ms: graceMs, requested_ms_ago: requestedMsAgo };
    this.send({ type: 'desired', is_complete: false, runs: [this.#named(runUuid)] });
  }

  kill(runUuid: string, attempt = 1): void {
    this.send({ type: 'kill', runs: [{ run_uuid: runUuid, attempt }] });
  }

  tellAll(): void {
    const runs = [...this.runs.keys()].map((runUuid) => this.#named(runUuid));
    this.send({ type: 'desired', is_complete: true, runs });
  }

  send(message: ServerMessage): void {
    this.#socket?.send(JSON.stringify(message));
  }

  run(runUuid: string): StoredRun {
    const run = this.runs.get(runUuid);
    assert.ok(run, `run ${runUuid} is not known to this control plane`);
    return run;
  }

  logOf(runUuid: string, stream: LogStream = 'stdout'): string {
    return Buffer.concat(this.run(runUuid).logs[stream].chunks).toString('utf8');
  }

  kindsOf(runUuid: string): string[] {
    return this.run(runUuid).events.map(({ event }) => (event.kind === 'teardown' ? event.step : event.kind));
  }

  /** The first such event, now or later. */
  async event<K extends RunEvent['kind']>(
    runUuid: string,
    kind: K,
    limitMs = waitLimitMs,
  ): Promise<EventOf<K>> {
    const find = () => this.run(runUuid).events.find(({ event }) => event.kind === kind)?.event;
    await this.until(() => find() !== undefined, {
      limitMs,
      what: () => `${kind} of ${runUuid}; heard ${this.kindsOf(runUuid).join(', ')}`,
    });
    return find() as EventOf<K>;
  }

  until(isTrue: () => boolean, options: { limitMs?: number; what: () => string }): Promise<void> {
    if (isTrue()) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const check = () => {
        if (!isTrue()) return;
        clearTimeout(timer);
        this.#waiters.delete(check);
        resolve();
      };
      const timer = setTimeout(() => {
        this.#waiters.delete(check);
        reject(new Error(`waited in vain for ${options.what()}`));
      }, options.limitMs ?? waitLimitMs);
      this.#waiters.add(check);
    });
  }

  #named(runUuid: string): DesiredRun {
    const { desired, logs } = this.run(runUuid);
    const place = (stream: LogStream) => ({ offset: logs[stream].length, position: logs[stream].position });
    return { ...desired, log: { stdout: place('stdout'), stderr: place('stderr') } };
  }

  #accept(socket: WebSocket): void {
    socket.on('error', () => {});
    socket.on('message', (bytes) => {
      this.#receive(socket, JSON.parse(bytes.toString()) as AgentMessage);
      for (const check of [...this.#waiters]) check();
    });
  }

  #receive(socket: WebSocket, message: AgentMessage): void {
    if (message.type === 'hello') this.#welcome(socket, message);
    else if (message.type === 'report') this.#report(message);
    else if (message.type === 'log') this.#log(message);
    else if (message.type === 'orphans') this.orphans.push(message.containers);
    else if (message.type === 'inventory') this.inventories.push(message.inventory);
    else if (message.type === 'sample') this.samples.push(message);
  }

  #welcome(socket: WebSocket, hello: Hello): void {
    this.hellos.push(hello);
    this.#socket = socket;
    if (this.refusal !== null) {
      this.send({ type: 'refused', ...this.refusal });
      return;
    }
    this.connectionCount += 1;
    this.send({
      type: 'welcome',
      protocol: protocolVersion,
      cluster_uuid: this.clusterUuid,
      cluster_generation: 1,
      node_uuid: this.nodeUuid,
      heartbeat_ms: 500,
      awaits_word: this.awaitsWord,
      ...(this.sampleMs === null ? {} : { sample_ms: this.sampleMs }),
    });
    this.tellAll();
  }

  #report({ sequence, run_uuid, event }: Extract<AgentMessage, { type: 'report' }>): void {
    const run = this.runs.get(run_uuid);
    run?.events.push({ event, atMs: performance.now(), connection: this.connectionCount });
    if (run !== undefined) follow(run.desired, event);
    if (this.isReportAcked) this.send({ type: 'report_ack', sequence });
  }

  #log({ run_uuid, stream, offset, bytes_base64, position }: LogChunk): void {
    const log = this.runs.get(run_uuid)?.logs[stream];
    if (log === undefined) return;
    const bytes = Buffer.from(bytes_base64, 'base64');
    if (offset === log.length) {
      log.chunks.push(bytes);
      log.length += bytes.length;
      log.position = position;
    } else if (offset + bytes.length > log.length || offset > log.length) {
      this.logFaults.push(`${stream} has ${log.length} bytes and got ${bytes.length} at ${offset}`);
    }
    if (this.isLogAcked) this.send({ type: 'log_ack', run_uuid, stream, offset: log.length });
  }
}

/** The status that a server would then know, as far as the agent's rules look at it. */
function follow(desired: DesiredRun, event: RunEvent): void {
  if (event.kind === 'preparing' && desired.status === 'ASSIGNED') desired.status = 'PREPARING';
  if (event.kind === 'running') desired.status = 'RUNNING';
}

function noLog() {
  return { chunks: [], length: 0, position: null };
}

/** A run of a busybox shell; `container.command` says what it does. */
export function aDesiredRun(options: RunOptions = {}): DesiredRun {
  return {
    run_uuid: randomUUID(),
    job_uuid: randomUUID(),
    attempt: 1,
    desired: 'run',
    status: 'ASSIGNED',
    stop: null,
    cpu_count: 0,
    ram_bytes: 0,
    storage_bytes: 0,
    gpu_uuids: [],
    log: { stdout: { offset: 0, position: null }, stderr: { offset: 0, position: null } },
    ...options,
    container: {
      image: 'test/busybox',
      tag: '1',
      registry_host: null,
      registry_user: null,
      registry_secret: null,
      env: {},
      ports: null,
      has_ssh: false,
      volumes: [],
      command: null,
      entrypoint: null,
      stop_signal: null,
      ...options.container,
    },
  };
}

export function shell(script: string): RunOptions {
  return { container: { command: ['/bin/sh', '-c', script] } };
}
