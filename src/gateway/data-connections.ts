// Data connections to nodes: asked for over control when a stream needs one, taken when the agent dials, used again by later streams.
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { DataConnection } from '../ingress/data-connection.ts';
import type { DataStream } from '../ingress/data-stream.ts';
import { dataProtocol } from '../protocol/agent-messages.ts';
import type { StreamOpening } from '../protocol/data-streams.ts';
import { refuseUpgrade } from './upgrade.ts';

export interface DialRequest {
  nodeId: string;
  ticket: string;
  /** Connections wanted. */
  count: number;
}

export interface DataConnectionsOptions {
  /** Asks the node's agent to dial here with the ticket; whichever replica holds its control connection. */
  askToDial: (request: DialRequest) => void;
  /** Who dialled, by its signature; throws to refuse. */
  authenticate: (request: IncomingMessage) => Promise<{ nodeId: string }>;
  newTicket: () => string;
}

interface Waiter {
  resolve: (connection: DataConnection) => void;
  reject: (error: Error) => void;
  timer: NodeJS.Timeout;
}

interface NodeConnections {
  all: Set<DataConnection>;
  /** The last used one last. */
  idle: DataConnection[];
  waiters: Waiter[];
  /** Asked for, and not here yet. */
  dialledCount: number;
  isAskDue: boolean;
  repeat: NodeJS.Timeout | null;
}

interface Ticket {
  nodeId: string;
  leftCount: number;
  expiresAtMs: number;
}

/** An agent that is just connecting anew gets this long, asked again and again. */
const dialPatienceMs = 10_000;
const askEveryMs = 1_000;
const ticketMs = 30_000;
/** More wait until these have come: each is a signature to check. */
const maxDialsAtOnce = 64;
/** One more than is needed now is asked for, so that the next stream waits for no dial. */
const spareCount = 1;
const maxIdlePerNode = 16;
const idleMs = 5 * 60_000;
const sweepMs = 30_000;

/** Over TLS, what follows must not begin while this is still being written. */
function accept(socket: Duplex): Promise<void> {
  const head = `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ${dataProtocol}\r\n\r\n`;
  return new Promise((resolve, reject) => {
    socket.write(head, (error) => (error ? reject(error) : resolve()));
  });
}

export class DataConnections {
  readonly #options: DataConnectionsOptions;
  readonly #nodes = new Map<string, NodeConnections>();
  readonly #tickets = new Map<string, Ticket>();
  readonly #sweeper: NodeJS.Timeout;

  constructor(options: DataConnectionsOptions) {
    this.#options = options;
    this.#sweeper = setInterval(() => this.#sweep(), sweepMs);
  }

  /** A stream that the agent accepted. Rejects with StreamRefused, or with an Error when the node cannot be reached. */
  async openStream(nodeId: string, opening: StreamOpening): Promise<DataStream> {
    const node = this.#node(nodeId);
    const idle = node.idle.pop();
    const connection = idle ?? this.#nextConnection(nodeId, node);
    this.#ask(nodeId, node);
    return (await connection).open(opening);
  }

  /** The agent's upgrade request on the data path. */
  async takeUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    try {
      const { nodeId } = await this.#options.authenticate(request);
      if (request.headers.upgrade !== dataProtocol || !this.#useTicket(request, nodeId)) {
        refuseUpgrade(socket, {
          status: 404,
          code: 'not_found',
          message: 'This server did not ask this node for that data connection.',
        });
        return;
      }
      await accept(socket);
      if (head.length > 0) socket.unshift(head);
      this.#add(nodeId, socket);
    } catch (error) {
      refuseUpgrade(socket, error);
    }
  }

  close(): void {
    clearInterval(this.#sweeper);
    for (const node of this.#nodes.values()) {
      if (node.repeat !== null) clearTimeout(node.repeat);
      for (const { timer, reject } of node.waiters.splice(0)) {
        clearTimeout(timer);
        reject(new Error('The gateway is closing.'));
      }
      for (const connection of node.all) connection.destroy();
    }
  }

  #node(nodeId: string): NodeConnections {
    const known = this.#nodes.get(nodeId);
    if (known !== undefined) return known;
    const node: NodeConnections = {
      all: new Set(),
      idle: [],
      waiters: [],
      dialledCount: 0,
      isAskDue: false,
      repeat: null,
    };
    this.#nodes.set(nodeId, node);
    return node;
  }

  #nextConnection(nodeId: string, node: NodeConnections): Promise<DataConnection> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        node.waiters = node.waiters.filter((it) => it !== waiter);
        reject(
          new Error(`The node ${nodeId} did not dial a data connection within 10 s; is its agent connected?`),
        );
      }, dialPatienceMs);
      const waiter: Waiter = { resolve, reject, timer };
      node.waiters.push(waiter);
    });
  }

  /** Gathered over one turn of the event loop. */
  #ask(nodeId: string, node: NodeConnections): void {
    if (node.isAskDue) return;
    node.isAskDue = true;
    setImmediate(() => {
      node.isAskDue = false;
      const wantedCount = node.waiters.length + spareCount - node.idle.length - node.dialledCount;
      const count = Math.min(wantedCount, maxDialsAtOnce - node.dialledCount);
      if (count > 0) this.#askFor(nodeId, node, count);
      if (node.waiters.length > 0) this.#askAgainLater(nodeId, node);
    });
  }

  /** Hints and dials may be lost: what did not come by then is asked for anew. */
  #askAgainLater(nodeId: string, node: NodeConnections): void {
    node.repeat ??= setTimeout(() => {
      node.repeat = null;
      node.dialledCount = 0;
      if (node.waiters.length > 0) this.#ask(nodeId, node);
    }, askEveryMs);
  }

  #askFor(nodeId: string, node: NodeConnections, count: number): void {
    const ticket = this.#options.newTicket();
    this.#tickets.set(ticket, { nodeId, leftCount: count, expiresAtMs: performance.now() + ticketMs });
    node.dialledCount += count;
    this.#options.askToDial({ nodeId, ticket, count });
  }

  #useTicket(request: IncomingMessage, nodeId: string): boolean {
    const id = new URL(request.url ?? '/', 'http://server').searchParams.get('ticket') ?? '';
    const ticket = this.#tickets.get(id);
    if (ticket === undefined || ticket.nodeId !== nodeId || ticket.expiresAtMs < performance.now())
      return false;
    ticket.leftCount -= 1;
    if (ticket.leftCount === 0) this.#tickets.delete(id);
    return true;
  }

  #add(nodeId: string, socket: Duplex): void {
    const node = this.#node(nodeId);
    node.dialledCount = Math.max(0, node.dialledCount - 1);
    const connection = new DataConnection(socket, {
      onIdle: () => this.#give(node, connection),
      onClose: () => {
        node.all.delete(connection);
        node.idle = node.idle.filter((it) => it !== connection);
      },
    });
    node.all.add(connection);
    this.#give(node, connection);
    if (node.waiters.length > node.dialledCount) this.#ask(nodeId, node);
  }

  /** To who waits longest, else kept for the next. */
  #give(node: NodeConnections, connection: DataConnection): void {
    const waiter = node.waiters.shift();
    if (waiter !== undefined) {
      clearTimeout(waiter.timer);
      waiter.resolve(connection);
    } else if (node.idle.length < maxIdlePerNode) node.idle.push(connection);
    else connection.destroy();
  }

  #sweep(): void {
    const nowMs = performance.now();
    for (const [id, ticket] of this.#tickets) if (ticket.expiresAtMs < nowMs) this.#tickets.delete(id);
    for (const [nodeId, node] of this.#nodes) {
      for (const connection of node.idle) if (connection.idleMs > idleMs) connection.destroy();
      if (node.all.size === 0 && node.waiters.length === 0 && !node.isAskDue) this.#nodes.delete(nodeId);
    }
  }
}
