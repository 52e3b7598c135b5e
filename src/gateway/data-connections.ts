// Data connections to nodes: asked for over control when a stream needs one, taken when the agent dials, shared by streams.
import type { IncomingMessage } from 'node:http';
import type { ClientHttp2Stream } from 'node:http2';
import type { Duplex } from 'node:stream';
import { dataProtocol } from '../protocol/agent-messages.ts';
import { DataSession } from './data-session.ts';
import { refuseUpgrade } from './upgrade.ts';

export interface DataConnectionsOptions {
  /** Asks the node's agent to dial here with the ticket; whichever replica holds its control connection. */
  askToDial: (nodeId: string, ticket: string) => void;
  /** Who dialled, by its signature; throws to refuse. */
  authenticate: (request: IncomingMessage) => Promise<{ nodeId: string }>;
  newTicket: () => string;
}

interface Waiting {
  nodeId: string;
  resolve: (session: DataSession) => void;
}

interface NodeConnections {
  sessions: Set<DataSession>;
  dialling: Promise<DataSession> | null;
}

/** An agent that is just connecting anew gets this long, asked again and again. */
const dialPatienceMs = 10_000;
const askEveryMs = 1_000;
/** Streams of one session before another is worth a connection. */
const busyStreamCount = 32;
const maxSessionsPerNode = 3;
const idleMs = 5 * 60_000;
const sweepMs = 30_000;

/** Over TLS a session that begins while this is still being written ends the process (an assertion of Node's). */
function accept(socket: Duplex): Promise<void> {
  const head = `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ${dataProtocol}\r\n\r\n`;
  return new Promise((resolve, reject) => {
    socket.write(head, (error) => (error ? reject(error) : resolve()));
  });
}

export class DataConnections {
  readonly #options: DataConnectionsOptions;
  readonly #nodes = new Map<string, NodeConnections>();
  readonly #waiting = new Map<string, Waiting>();
  readonly #sweeper: NodeJS.Timeout;

  constructor(options: DataConnectionsOptions) {
    this.#options = options;
    this.#sweeper = setInterval(() => this.#sweep(), sweepMs);
  }

  /** A stream that the agent accepted. Rejects with StreamRefused, or with an Error when the node cannot be reached. */
  async openStream(nodeId: string, headers: Record<string, string>): Promise<ClientHttp2Stream> {
    const session = await this.#session(nodeId);
    return session.open(headers);
  }

  /** The agent's upgrade request on the data path. */
  async takeUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    try {
      const { nodeId } = await this.#options.authenticate(request);
      const ticket = new URL(request.url ?? '/', 'http://server').searchParams.get('ticket') ?? '';
      const waiting = this.#waiting.get(ticket);
      if (waiting?.nodeId !== nodeId || request.headers.upgrade !== dataProtocol) {
        refuseUpgrade(socket, {
          status: 404,
          code: 'not_found',
          message: 'This server did not ask this node for that data connection.',
        });
        return;
      }
      this.#waiting.delete(ticket);
      await accept(socket);
      if (head.length > 0) socket.unshift(head);
      waiting.resolve(this.#add(nodeId, socket));
    } catch (error) {
      refuseUpgrade(socket, error);
    }
  }

  close(): void {
    clearInterval(this.#sweeper);
    for (const { sessions } of this.#nodes.values()) for (const session of sessions) session.destroy();
  }

  #node(nodeId: string): NodeConnections {
    const known = this.#nodes.get(nodeId);
    if (known !== undefined) return known;
    const node: NodeConnections = { sessions: new Set(), dialling: null };
    this.#nodes.set(nodeId, node);
    return node;
  }

  #add(nodeId: string, socket: Duplex): DataSession {
    const { sessions } = this.#node(nodeId);
    const session = new DataSession(socket, () => sessions.delete(session));
    sessions.add(session);
    return session;
  }

  /** The least busy one; another is dialled beside it when that is busy too. */
  async #session(nodeId: string): Promise<DataSession> {
    const node = this.#node(nodeId);
    const open = [...node.sessions].filter((session) => session.isOpen);
    const [best] = open.sort((a, b) => a.streamCount - b.streamCount);
    if (best === undefined) return this.#dial(nodeId, node);
    if (best.streamCount >= busyStreamCount && open.length < maxSessionsPerNode)
      void this.#dial(nodeId, node).catch(() => {});
    return best;
  }

  #dial(nodeId: string, node: NodeConnections): Promise<DataSession> {
    node.dialling ??= this.#awaitDial(nodeId).finally(() => {
      node.dialling = null;
    });
    return node.dialling;
  }

  #awaitDial(nodeId: string): Promise<DataSession> {
    const { askToDial, newTicket } = this.#options;
    return new Promise((resolve, reject) => {
      const ticket = newTicket();
      const ask = () => askToDial(nodeId, ticket);
      const again = setInterval(ask, askEveryMs);
      const giveUp = setTimeout(() => {
        clearInterval(again);
        this.#waiting.delete(ticket);
        reject(
          new Error(`The node ${nodeId} did not dial a data connection within 10 s; is its agent connected?`),
        );
      }, dialPatienceMs);
      this.#waiting.set(ticket, {
        nodeId,
        resolve: (session) => {
          clearInterval(again);
          clearTimeout(giveUp);
          resolve(session);
        },
      });
      ask();
    });
  }

  #sweep(): void {
    for (const [nodeId, node] of this.#nodes) {
      for (const session of node.sessions) if (session.idleMs > idleMs) session.destroy();
      if (node.sessions.size === 0 && node.dialling === null) this.#nodes.delete(nodeId);
    }
  }
}
