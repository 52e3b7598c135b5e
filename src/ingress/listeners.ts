// Listens on exactly the ports that are open, and ends every connection of one that is not any more.
import { createServer, type Server, type Socket } from 'node:net';
import { type AddressRule, addressRule } from './address-rules.ts';
import { type DoorOptions, enter } from './door.ts';
import { abort, type End, join } from './join.ts';

/** A public port and what it stands for. */
export interface PublicPort {
  port: number;
  runId: string;
  containerPort: number;
  allowedIps: readonly string[];
  /** TLS ends at this port, if the door has a certificate. */
  hasTls: boolean;
}

export interface ListenersOptions<P extends PublicPort> extends DoorOptions {
  /** Address to listen on; `0.0.0.0` is all of IPv4, `::` all. */
  host: string;
  /** Ranges that pass whatever allowed_ips says. */
  operatorRanges: readonly string[];
  /** The other end of an admitted connection; rejects when there is none. */
  connect: (port: P) => Promise<End>;
  onRefused: (port: P) => void;
  warn: (fields: object, message: string) => void;
}

/** Idle connections stay; the kernel's own probes find peers that went away. */
const keepAliveMs = 60_000;

interface Listener<P extends PublicPort> {
  port: P;
  mayEnter: AddressRule;
  server: Server;
  sockets: Set<Socket>;
  isListening: boolean;
}

export class PortListeners<P extends PublicPort> {
  readonly #options: ListenersOptions<P>;
  readonly #listeners = new Map<number, Listener<P>>();
  /** Ports that could not be opened, so that each is told of once. */
  readonly #blocked = new Set<number>();

  constructor(options: ListenersOptions<P>) {
    this.#options = options;
  }

  /** Ports that take connections now. */
  get listeningPorts(): number[] {
    return [...this.#listeners.values()].filter((it) => it.isListening).map((it) => it.port.port);
  }

  /** The complete list; a port that stands for another run now loses the connections of the former one. */
  sync(ports: readonly P[]): void {
    const wanted = new Map(ports.map((port) => [port.port, port]));
    for (const [number, listener] of this.#listeners) {
      const port = wanted.get(number);
      if (port === undefined) this.#close(listener);
      else if (!isSame(port, listener.port)) this.#reassign(listener, port);
    }
    for (const port of ports) if (!this.#listeners.has(port.port)) this.#open(port);
  }

  close(): void {
    for (const listener of [...this.#listeners.values()]) this.#close(listener);
  }

  #open(port: P): void {
    const server = createServer({
      allowHalfOpen: true,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: keepAliveMs,
    });
    const listener: Listener<P> = {
      port,
      mayEnter: this.#ruleOf(port),
      server,
      sockets: new Set(),
      isListening: false,
    };
    this.#listeners.set(port.port, listener);
    server.on('connection', (socket) => void this.#accept(listener, socket));
    server.on('listening', () => {
      listener.isListening = true;
      this.#blocked.delete(port.port);
    });
    server.on('error', (error) => this.#failed(listener, error));
    server.listen({ port: port.port, host: this.#options.host });
  }

  /** Tried again with the next list. */
  #failed(listener: Listener<P>, error: Error): void {
    const { port } = listener.port;
    if (this.#listeners.get(port) === listener) this.#listeners.delete(port);
    if (this.#blocked.has(port)) return;
    this.#blocked.add(port);
    this.#options.warn({ err: error, port }, 'A public port cannot be opened; trying again until it can.');
  }

  #reassign(listener: Listener<P>, port: P): void {
    endAll(listener);
    listener.port = port;
    listener.mayEnter = this.#ruleOf(port);
  }

  #close(listener: Listener<P>): void {
    this.#listeners.delete(listener.port.port);
    listener.server.close();
    endAll(listener);
  }

  #ruleOf(port: P): AddressRule {
    return addressRule(port.allowedIps, this.#options.operatorRanges);
  }

  async #accept(listener: Listener<P>, socket: Socket): Promise<void> {
    const { port, mayEnter, sockets } = listener;
    sockets.add(socket);
    socket.on('error', () => {});
    socket.once('close', () => sockets.delete(socket));
    const entry = await enter(socket, this.#options, { mayEnter, hasTls: port.hasTls });
    if (entry.kind === 'refused') this.#options.onRefused(port);
    if (entry.kind !== 'admitted') {
      socket.destroy();
      return;
    }
    entry.socket.on('error', () => {});
    await this.#forward(port, entry.socket);
  }

  async #forward(port: P, socket: Socket): Promise<void> {
    try {
      const far = await this.#options.connect(port);
      if (socket.destroyed) abort(far);
      else join(socket, far);
    } catch (error) {
      this.#options.warn(
        { reason: String(error), port: port.port, run_uuid: port.runId },
        'A connection found no other end.',
      );
      abort(socket);
    }
  }
}

/** At once: whoever reads slowly must not outlive the port. */
function endAll<P extends PublicPort>({ sockets }: Listener<P>): void {
  for (const socket of sockets) socket.destroy();
}

function isSame(a: PublicPort, b: PublicPort): boolean {
  return (
    a.runId === b.runId &&
    a.containerPort === b.containerPort &&
    a.hasTls === b.hasTls &&
    a.allowedIps.join() === b.allowedIps.join()
  );
}
