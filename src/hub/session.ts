// One agent's control connection: messages in, checked; messages out; and what was last asked of it.
import type { EventEmitter } from 'node:events';
import { Compile } from 'typebox/compile';
import { every, type Timers } from '../domain/timers.ts';
import {
  AgentMessage,
  dialAgainCode,
  type NodePort,
  type ServerMessage,
  serverStopsCode,
} from '../protocol/agent-messages.ts';

/** Who dialled, as its signature proved. */
export interface AgentIdentity {
  nodeId: string;
  accountId: string;
  publicKey: string;
}

/** What a session needs of the WebSocket; its events are message, pong, error and close. */
export interface AgentSocket extends EventEmitter {
  readonly readyState: number;
  readonly OPEN: number;
  readonly bufferedAmount: number;
  send(text: string): void;
  ping(): void;
  close(code: number, reason: string): void;
  terminate(): void;
}

/** The connection under the WebSocket, whose writes can be gathered. */
export interface CorkedStream {
  cork(): void;
  uncork(): void;
}

const messageCheck = Compile(AgentMessage);

/** Seconds of silence on the line before the connection counts as dead. */
const pingMs = 10_000;
/** An agent that reads nothing must not fill our memory. */
const maxBufferedBytes = 64 * 1024 * 1024;

export interface SessionEvents {
  message(session: AgentSession, message: AgentMessage): void;
  closed(session: AgentSession): void;
  /** The agent sent what no agent sends; the connection is closed. */
  malformed(session: AgentSession, problem: string): void;
}

export class AgentSession {
  readonly identity: AgentIdentity;
  /** The order last sent per run, so that only changes travel. */
  readonly sentOrders = new Map<string, string>();
  /** The list of orphans that was stored last, in short; null: none yet. */
  toldOrphans: string | null = null;
  /** Runs whose end it reported itself. */
  readonly releasedRuns = new Set<string>();
  /** Of the agent's process, from its hello; null before that. */
  lifeId: string | null = null;
  /** Which hello of its node this connection began with, as the database counts them; null before it. */
  hello: number | null = null;
  /** It was told to remove nothing until the admin's word. */
  awaitsWord = false;
  /** Its agent can go to other servers. */
  knowsOthers = false;
  /** Hello was answered: the agent knows what it should run. */
  isReady = false;
  /** Settles when the inventory it sent last is stored; null when that is so. */
  inventoryWritten: Promise<void> | null = null;
  readonly #socket: AgentSocket;
  readonly #stream: CorkedStream;
  readonly #events: SessionEvents;
  readonly #stopPings: () => void;
  #isAlive = true;
  #isOver = false;
  #sentPorts: string | null = null;
  #isGathering = false;

  constructor(
    socket: AgentSocket,
    stream: CorkedStream,
    options: { identity: AgentIdentity; events: SessionEvents; timers: Timers },
  ) {
    const { identity, events, timers } = options;
    this.identity = identity;
    this.#socket = socket;
    this.#stream = stream;
    this.#events = events;
    socket.on('message', (data) => this.#receive(String(data)));
    socket.on('pong', () => {
      this.#isAlive = true;
    });
    // The close that follows says it all.
    socket.on('error', () => {});
    socket.on('close', () => this.#closed());
    this.#stopPings = every(timers, pingMs, () => this.#ping());
  }

  send(message: ServerMessage): void {
    if (this.#socket.readyState !== this.#socket.OPEN) return;
    if (this.#socket.bufferedAmount > maxBufferedBytes) {
      this.#socket.terminate();
      return;
    }
    this.#gather();
    this.#socket.send(JSON.stringify(message));
  }

  /** Messages of one tick go in one write: the acknowledgements of a batch would be a system call each. */
  #gather(): void {
    if (this.#isGathering) return;
    this.#isGathering = true;
    this.#stream.cork();
    process.nextTick(() => {
      this.#isGathering = false;
      this.#stream.uncork();
    });
  }

  /** The first list always goes: the agent may hold one from before. */
  tellPorts(ports: readonly NodePort[]): void {
    const text = JSON.stringify(ports);
    if (text === this.#sentPorts) return;
    this.#sentPorts = text;
    this.send({ type: 'ports', ports: [...ports] });
  }

  /** The last word, then the end: why this agent may not stay. */
  refuse(code: string, message: string): void {
    this.send({ type: 'refused', code, message });
    this.#socket.close(1008, code);
  }

  /** Ends the connection; the agent dials again and says hello. */
  close(reason: string): void {
    this.#socket.close(dialAgainCode, reason);
  }

  /** Ends the connection; the agent dials another server, if it knows one. */
  leave(): void {
    this.#socket.close(serverStopsCode, 'server stops');
  }

  /** At once; what has arrived and was not heard yet is not heard any more. */
  terminate(): void {
    this.#isOver = true;
    this.#socket.terminate();
  }

  #receive(text: string): void {
    if (this.#isOver) return;
    const message = parse(text);
    this.#isAlive = true;
    if (message !== null) {
      this.#events.message(this, message);
      return;
    }
    this.#events.malformed(this, text.slice(0, 200));
    this.refuse(
      'malformed_message',
      'The agent sent a message this server cannot read; update the older of the two.',
    );
  }

  #ping(): void {
    if (!this.#isAlive) {
      this.#socket.terminate();
      return;
    }
    this.#isAlive = false;
    this.#socket.ping();
  }

  #closed(): void {
    this.#stopPings();
    this.#events.closed(this);
  }
}

function parse(text: string): AgentMessage | null {
  try {
    const value: unknown = JSON.parse(text);
    return messageCheck.Check(value) ? value : null;
  } catch {
    return null;
  }
}
