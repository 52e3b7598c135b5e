// The gateway of one replica: listens on every open port of the cluster and forwards to the nodes' containers.
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { SecureContext } from 'node:tls';
import type { Logger } from 'pino';
import type { Database } from '../db/database.ts';
import { countRefused, listOpenPorts, type OpenPort } from '../db/gateway-ports.ts';
import type { Hints } from '../db/hints.ts';
import { sshPort } from '../domain/job.ts';
import type { AddressRule } from '../ingress/address-rules.ts';
import type { DataStream } from '../ingress/data-stream.ts';
import { PortListeners, type PublicPort } from '../ingress/listeners.ts';
import { agentDataPath, type NodePort } from '../protocol/agent-messages.ts';
import type { StreamOpening } from '../protocol/data-streams.ts';
import { DataConnections } from './data-connections.ts';

export interface GatewayOptions {
  database: Database;
  hints: Hints;
  log: Logger;
  /** Address that public ports are listened on. */
  host: string;
  operatorRanges: readonly string[];
  /** Load balancers whose PROXY header is read; null: the protocol is off. */
  trustedProxies: AddressRule | null;
  tls: { context: SecureContext; isPlainAllowed: boolean } | null;
  /** Where agents reach this very replica; empty: where their control connection goes. */
  advertisedUrl: () => string;
  /** Who dials a data connection, by the signature of its upgrade; throws to refuse. */
  authenticate: (request: IncomingMessage) => Promise<{ nodeId: string }>;
  newTicket: () => string;
  /** Passes the ports on to agents that serve them themselves. */
  tellPorts: (byNode: ReadonlyMap<string, readonly NodePort[]>) => void;
}

type ServedPort = PublicPort & { nodeId: string };

/** The safety net under lost hints. */
const pollMs = 2_000;
/** A burst of hints is one look. */
const minLookGapMs = 50;
const countMs = 1_000;

export class Gateway {
  readonly #options: GatewayOptions;
  readonly #listeners: PortListeners<ServedPort>;
  readonly #connections: DataConnections;
  readonly #refused = new Map<number, number>();
  readonly #timers: NodeJS.Timeout[] = [];
  #unsubscribe: (() => void) | undefined;
  #looking: Promise<void> | null = null;
  #isLookDue = false;
  #isClosed = false;

  constructor(options: GatewayOptions) {
    this.#options = options;
    const { log, hints, advertisedUrl } = options;
    const warn = (fields: object, message: string) => log.warn(fields, message);
    this.#connections = new DataConnections({
      // To this replica too: the hint reaches whoever holds the control connection.
      askToDial: (request) => hints.publish({ kind: 'dial', url: advertisedUrl(), ...request }),
      authenticate: options.authenticate,
      newTicket: options.newTicket,
    });
    this.#listeners = new PortListeners<ServedPort>({
      host: options.host,
      operatorRanges: options.operatorRanges,
      trustedProxies: options.trustedProxies,
      tls: options.tls,
      connect: ({ nodeId, runId, containerPort }) =>
        this.openStream(nodeId, { kind: 'port', runUuid: runId, port: containerPort }),
      onRefused: ({ port }) => void this.#refused.set(port, (this.#refused.get(port) ?? 0) + 1),
      warn,
    });
  }

  /** Opens what is open now, and follows what changes. */
  async start(): Promise<void> {
    this.#unsubscribe = this.#options.hints.subscribe((hint) => {
      // What is wanted of a node's runs changed: a stop closes ports.
      if (hint.kind === 'ports' || hint.kind === 'node' || hint.kind === 'missed') this.#wake();
    });
    this.#timers.push(setInterval(() => this.#wake(), pollMs));
    this.#timers.push(setInterval(() => void this.#flushRefused(), countMs));
    await this.#look();
  }

  get listeningPorts(): number[] {
    return this.#listeners.listeningPorts;
  }

  /** A stream to the node's agent, accepted by it. Rejects with StreamRefused, or an Error when the node cannot be reached. */
  openStream(nodeId: string, opening: StreamOpening): Promise<DataStream> {
    return this.#connections.openStream(nodeId, opening);
  }

  /** Takes the upgrades of data connections; answers false for others. */
  takeUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): boolean {
    if (request.url?.split('?', 1)[0] !== agentDataPath) return false;
    void this.#connections.takeUpgrade(request, socket, head);
    return true;
  }

  /** Connections through this replica end; ports stay open in the database, for the others and the next start. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const timer of this.#timers) clearInterval(timer);
    this.#unsubscribe?.();
    this.#listeners.close();
    this.#connections.close();
    await this.#looking;
    await this.#flushRefused();
  }

  #wake(): void {
    this.#isLookDue = true;
    this.#looking ??= this.#lookUntilQuiet().finally(() => {
      this.#looking = null;
    });
  }

  async #lookUntilQuiet(): Promise<void> {
    while (this.#isLookDue && !this.#isClosed) {
      this.#isLookDue = false;
      await this.#look();
      await new Promise((resolve) => setTimeout(resolve, minLookGapMs));
    }
  }

  async #look(): Promise<void> {
    try {
      const open = await listOpenPorts(this.#options.database);
      if (this.#isClosed) return;
      this.#listeners.sync(open.filter((port) => !port.isDirect).map(toServed));
      this.#options.tellPorts(directByNode(open));
    } catch (error) {
      // Ports stay as they are: what was open may be used while the database is away.
      this.#options.log.warn({ err: error }, 'The open ports could not be read; trying again.');
    }
  }

  async #flushRefused(): Promise<void> {
    if (this.#refused.size === 0) return;
    const counts = new Map(this.#refused);
    this.#refused.clear();
    await countRefused(this.#options.database, counts).catch((error) => {
      this.#options.log.warn({ err: error }, 'Refused connections could not be counted; trying again.');
      for (const [port, count] of counts) this.#refused.set(port, (this.#refused.get(port) ?? 0) + count);
    });
  }
}

/** SSH is encrypted as it is; its clients know no TLS. */
function toServed({ port, runId, nodeId, containerPort, allowedIps }: OpenPort): ServedPort {
  return { port, runId, nodeId, containerPort, allowedIps, hasTls: containerPort !== sshPort };
}

function directByNode(open: readonly OpenPort[]): Map<string, NodePort[]> {
  const byNode = new Map<string, NodePort[]>();
  for (const { port, runId, nodeId, containerPort, allowedIps, isDirect } of open) {
    if (!isDirect) continue;
    const ports = byNode.get(nodeId) ?? [];
    ports.push({ port, run_uuid: runId, container_port: containerPort, allowed_ips: [...allowedIps] });
    byNode.set(nodeId, ports);
  }
  // The same list must read the same, whatever order the database chose.
  for (const ports of byNode.values()) ports.sort((a, b) => a.port - b.port);
  return byNode;
}
