// The simulated network between agents and servers: connections like a WebSocket over TCP, which break, stall and lag.
//
// Within a connection frames arrive in order or not at all, as TCP has it; a frame may come twice, and what was on its
// way when a connection broke is lost, or comes after the first words of the next connection.
import { EventEmitter } from 'node:events';
import type { SimulatedProcess } from './process.ts';
import type { World } from './world.ts';

const open = 1;
const closing = 2;
const closed = 3;
/** ws gives up on the other's goodbye after this. */
const closeLimitMs = 30_000;
const handshakeLimitMs = 10_000;
/** Of what is written in one moment, so much travels by itself. */
const splitShare = 0.3;

export type Direction = 'up' | 'down';

/** One end of a connection, in the shape of a `ws` socket. */
export class SimulatedSocket extends EventEmitter {
  readonly OPEN = open;
  readyState = 0;
  readonly bufferedAmount = 0;
  readonly #connection: Connection;
  readonly #isAgent: boolean;

  constructor(connection: Connection, isAgent: boolean) {
    super();
    this.#connection = connection;
    this.#isAgent = isAgent;
  }

  send(text: string, done?: () => void): void {
    if (this.readyState !== open) return;
    this.#connection.carry(this.#isAgent, { kind: 'message', text });
    if (done !== undefined) queueMicrotask(done);
  }

  ping(): void {
    if (this.readyState === open) this.#connection.carry(this.#isAgent, { kind: 'ping', text: '' });
  }

  close(code = 1000, _reason = ''): void {
    if (this.readyState >= closing) return;
    this.readyState = closing;
    this.#connection.carry(this.#isAgent, { kind: 'close', text: String(code) });
    this.#connection.later(this.#isAgent, closeLimitMs, 'close limit', () => this.end());
  }

  terminate(): void {
    if (this.readyState >= closed) return;
    const wasConnecting = this.readyState === 0;
    this.readyState = closed;
    if (!wasConnecting) this.#connection.carry(this.#isAgent, { kind: 'reset', text: '' });
    this.#connection.later(this.#isAgent, 0, 'socket closed', () => this.emit('close'));
  }

  /** The other side, or the network, ended it. */
  end(): void {
    if (this.readyState === closed) return;
    this.readyState = closed;
    this.emit('close');
  }

  receive(frame: Frame): void {
    if (this.readyState === closed || this.readyState === 0) return;
    if (frame.kind === 'message') this.emit('message', Buffer.from(frame.text));
    else if (frame.kind === 'pong') this.emit('pong');
    else if (frame.kind === 'ping') {
      this.emit('ping');
      this.#connection.carry(this.#isAgent, { kind: 'pong', text: '' });
    } else {
      if (frame.kind === 'close' && this.readyState === open)
        this.#connection.carry(this.#isAgent, { kind: 'close', text: frame.text });
      this.end();
    }
  }
}

interface Frame {
  kind: 'message' | 'ping' | 'pong' | 'close' | 'reset';
  text: string;
}

/** Messages that may come twice without a new connection between: all that are hints to look again. */
const repeatable = /^\{"type":"(heartbeat|report|log|orphans|desired|kill|report_ack|log_ack)"/;

class Connection {
  readonly nodeName: string;
  readonly serverName: string;
  readonly agentEnd: SimulatedSocket;
  readonly serverEnd: SimulatedSocket;
  readonly #network: Network;
  readonly #agent: SimulatedProcess;
  readonly #server: SimulatedProcess;
  readonly #ordinal: number;
  readonly dialledAtMs: number;
  /** Nothing that is on its way arrives any more. */
  isCut = false;
  readonly #lastArrivalMs = { up: 0, down: 0 };
  /** The newest on its way, by the step that sent it. */
  readonly #segments: Record<Direction, { step: number; frames: Frame[] } | null> = { up: null, down: null };
  readonly #stalled: Record<Direction, Frame[]> = { up: [], down: [] };

  constructor(
    network: Network,
    ends: { agent: SimulatedProcess; server: SimulatedProcess; ordinal: number },
  ) {
    this.#network = network;
    this.#agent = ends.agent;
    this.#server = ends.server;
    this.#ordinal = ends.ordinal;
    this.dialledAtMs = network.world.nowMs;
    this.nodeName = ends.agent.name.split('/')[0] ?? '';
    this.serverName = ends.server.name.split('/')[0] ?? '';
    this.agentEnd = new SimulatedSocket(this, true);
    this.serverEnd = new SimulatedSocket(this, false);
  }

  get isOver(): boolean {
    return this.agentEnd.readyState === closed && this.serverEnd.readyState === closed;
  }

  carry(fromAgent: boolean, frame: Frame): void {
    const { world } = this.#network;
    const direction = fromAgent ? 'up' : 'down';
    this.#send(direction, frame);
    if (frame.kind !== 'message' || !repeatable.test(frame.text)) return;
    if (!world.random.fault.chance(this.#network.rates.duplicate)) return;
    world.count('fault: message duplicated');
    this.#send(direction, frame);
  }

  /** What is written in one moment mostly arrives together, as one segment. */
  #send(direction: Direction, frame: Frame): void {
    const { world } = this.#network;
    const last = this.#segments[direction];
    if (last?.step === world.stepCount && !world.random.latency.chance(splitShare)) {
      last.frames.push(frame);
      return;
    }
    const latencyMs = this.#network.latencyMs(this.nodeName);
    const arrivalMs = Math.max(world.nowMs + latencyMs, this.#lastArrivalMs[direction] + 0.001);
    this.#lastArrivalMs[direction] = arrivalMs;
    const receiver = direction === 'up' ? this.#server : this.#agent;
    const frames = [frame];
    this.#segments[direction] = { step: world.stepCount, frames };
    world.later(arrivalMs - world.nowMs, {
      process: receiver,
      what: `${direction} ${this.nodeName} #${this.#ordinal} ${frame.kind} ${frame.text.slice(0, 150)}`,
      run: () => {
        for (const arrived of frames) this.#arrive(direction, arrived);
        if (frames.length > 1)
          world.note(`  and ${frames.length - 1} more, the last ${frames.at(-1)?.text.slice(0, 80)}`);
      },
    });
  }

  #arrive(direction: Direction, frame: Frame): void {
    const { world } = this.#network;
    if (this.isCut) {
      world.count('fault: message lost');
      return;
    }
    if (this.#stalled[direction].length > 0 || this.#network.isBlocked(this.nodeName, direction)) {
      this.#stalled[direction].push(frame);
      return;
    }
    if (direction === 'up' && this.#network.isOlder(this.nodeName, this.#ordinal) && frame.kind === 'message')
      world.count('fault: message after those of a newer connection');
    if (direction === 'down' && frame.kind === 'message' && this.agentEnd.readyState === open)
      this.#network.onHeard({ text: frame.text, connection: this });
    (direction === 'up' ? this.serverEnd : this.agentEnd).receive(frame);
  }

  /** The way is free again: what was held back goes on. */
  resume(): void {
    for (const direction of ['up', 'down'] as const) {
      if (this.#network.isBlocked(this.nodeName, direction)) continue;
      for (const frame of this.#stalled[direction].splice(0)) this.#send(direction, frame);
    }
  }

  later(forAgent: boolean, delayMs: number, what: string, run: () => void): void {
    this.#network.world.later(delayMs, { process: forAgent ? this.#agent : this.#server, what, run });
  }

  /** Reset by something between: what is on its way is lost, both ends learn of it. */
  cut(): void {
    this.isCut = true;
    for (const isAgent of [true, false])
      this.later(isAgent, this.#network.latencyMs(this.nodeName), 'connection reset', () =>
        (isAgent ? this.agentEnd : this.serverEnd).end(),
      );
  }

  /** The process at this end was killed, and its system says so to the other. */
  endOf(process: SimulatedProcess): void {
    if (process === this.#agent && this.agentEnd.readyState !== closed) this.#abandon(true);
    if (process === this.#server && this.serverEnd.readyState !== closed) this.#abandon(false);
  }

  #abandon(isAgent: boolean): void {
    (isAgent ? this.agentEnd : this.serverEnd).readyState = closed;
    this.carry(isAgent, { kind: 'reset', text: '' });
  }
}

/** A message that an agent reads, and the connection it came by. */
export interface Heard {
  text: string;
  connection: { nodeName: string; dialledAtMs: number };
}

export interface DialTarget {
  process: SimulatedProcess;
  accept: (socket: SimulatedSocket, nodeName: string) => void;
}

export class Network {
  readonly world: World;
  readonly rates = { duplicate: 0 };
  /** Nodes that the network is slow for, and by how much. */
  readonly slowMs = new Map<string, number>();
  readonly #blocked = new Set<string>();
  #connections: Connection[] = [];
  readonly #newest = new Map<string, number>();
  /** An agent reads this message. */
  onHeard: (heard: Heard) => void = () => {};
  /** A server that listens, chosen by the seed; null when none does. */
  target: () => DialTarget | null = () => null;

  constructor(world: World) {
    this.world = world;
  }

  latencyMs(nodeName: string): number {
    const { latency } = this.world.random;
    const usualMs = latency.chance(0.05) ? latency.between(5, 80) : latency.between(0.2, 4);
    return usualMs + (this.slowMs.get(nodeName) ?? 0) * latency.next();
  }

  isBlocked(nodeName: string, direction: Direction): boolean {
    return this.#blocked.has(`${nodeName} ${direction}`);
  }

  isOlder(nodeName: string, ordinal: number): boolean {
    return ordinal < (this.#newest.get(nodeName) ?? 0);
  }

  block(nodeName: string, directions: readonly Direction[]): void {
    for (const direction of directions) this.#blocked.add(`${nodeName} ${direction}`);
  }

  unblock(nodeName: string): void {
    for (const direction of ['up', 'down']) this.#blocked.delete(`${nodeName} ${direction}`);
    for (const connection of this.#connections) if (connection.nodeName === nodeName) connection.resume();
  }

  /** Resets the node's connections; how many there were. */
  cut(nodeName: string): number {
    const found = this.#open().filter((connection) => connection.nodeName === nodeName && !connection.isCut);
    for (const connection of found) connection.cut();
    return found.length;
  }

  /** A new connection; `open`, or `error` and `close`, come later. */
  dial(agent: SimulatedProcess): SimulatedSocket {
    const { world } = this;
    const nodeName = agent.name.split('/')[0] ?? '';
    const target = this.target();
    const ordinal = (this.#newest.get(nodeName) ?? 0) + 1;
    this.#newest.set(nodeName, ordinal);
    const connection = new Connection(this, { agent, server: target?.process ?? agent, ordinal });
    const socket = connection.agentEnd;
    const fail = (why: string) => {
      if (socket.readyState !== 0) return;
      socket.emit('error', new Error(why));
      socket.end();
    };
    const limit = { process: agent, what: 'dial limit', run: () => fail('handshake timeout') };
    socket.once('open', world.later(handshakeLimitMs, limit));
    if (target === null) {
      world.later(this.latencyMs(nodeName), {
        process: agent,
        what: 'dial refused',
        run: () => fail('refused'),
      });
      return socket;
    }
    world.later(this.latencyMs(nodeName), {
      process: target.process,
      what: `dialled by ${nodeName}`,
      run: () => this.#shake(connection, { agent, target, nodeName }),
    });
    return socket;
  }

  #shake(
    connection: Connection,
    { agent, target, nodeName }: { agent: SimulatedProcess; target: DialTarget; nodeName: string },
  ): void {
    if (this.isBlocked(nodeName, 'up')) return;
    connection.serverEnd.readyState = open;
    this.#connections = [...this.#open(), connection];
    target.accept(connection.serverEnd, nodeName);
    target.process.onKill(() => connection.endOf(target.process));
    agent.onKill(() => connection.endOf(agent));
    this.world.later(this.latencyMs(nodeName), {
      process: agent,
      what: 'dialled',
      run: () => {
        if (this.isBlocked(nodeName, 'down') || connection.agentEnd.readyState !== 0) return;
        connection.agentEnd.readyState = open;
        connection.agentEnd.emit('open');
      },
    });
  }

  #open(): Connection[] {
    return this.#connections.filter((connection) => !connection.isOver);
  }
}
