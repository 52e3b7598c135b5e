// A gateway and an agent's tunnel joined by a real data connection, without database and Docker: what is between is bytes.
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerOptions } from 'node:http';
import { type AddressInfo, connect, type Server, type Socket, createServer as tcpServer } from 'node:net';
import { systemClock } from '../../../src/agent/clock.ts';
import { Tunnel } from '../../../src/agent/tunnel.ts';
import { portStreams } from '../../../src/agent/tunnel-port.ts';
import { DataConnections } from '../../../src/gateway/data-connections.ts';
import { type ListenersOptions, PortListeners, type PublicPort } from '../../../src/ingress/listeners.ts';

export const runUuid = '019582a6-27fc-731d-8000-000000000001';
const nodeUuid = '019582a6-27fc-731d-8000-00000000000a';

export interface Rig {
  listeners: PortListeners<PublicPort>;
  connections: DataConnections;
  tunnel: Tunnel;
  warnings: string[];
  /** Where data connections are taken. */
  dataPort: number;
  /** Refused connections so far. */
  refusedCount: () => number;
  /** Opens a public port for a container port; gives its number. */
  publish(containerPort: number, options?: Partial<PublicPort>): Promise<number>;
  unpublish(port: number): void;
  /** Agents dialled so often. */
  dialCount: () => number;
  /** The run's containers are up, or not. */
  setRunning(isRunning: boolean): void;
  close(): Promise<void>;
}

export interface RigOptions extends Partial<ListenersOptions<PublicPort>> {
  /** Answers of the agent's signature check; throws to refuse. */
  authenticate?: (request: IncomingMessage) => Promise<{ nodeId: string }>;
  /** Of the HTTP server that takes the data connections. */
  httpOptions?: ServerOptions;
}

export async function startRig({ authenticate, httpOptions = {}, ...door }: RigOptions = {}): Promise<Rig> {
  const warnings: string[] = [];
  const published = new Set<number>();
  const open: PublicPort[] = [];
  let refusedCount = 0;
  let dialCount = 0;
  let isRunning = true;
  const server = createServer(httpOptions);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port: dataPort } = server.address() as AddressInfo;
  const url = `http://127.0.0.1:${dataPort}`;
  const warn = (_fields: object, message: string) => void warnings.push(message);
  const connections = new DataConnections({
    askToDial: ({ ticket, count }) => {
      dialCount += count;
      void tunnel.dial({ url, ticket, count });
    },
    authenticate: authenticate ?? (() => Promise.resolve({ nodeId: nodeUuid })),
    newTicket: () => crypto.randomUUID(),
  });
  server.on('upgrade', (request, socket, head) => void connections.takeUpgrade(request, socket, head));
  const tunnel = new Tunnel({
    servers: { all: [url] },
    signHeaders: () => ({}),
    onServerTime: () => {},
    log: { debug() {}, info() {}, warn, error: warn },
    handlers: {
      port: portStreams({
        runtime: { containerAddress: () => Promise.resolve({ address: '127.0.0.1', isHealthy: null }) },
        clock: systemClock,
        findRun: (uuid) =>
          isRunning && uuid === runUuid ? { containerId: 'c', publishedPorts: [...published] } : null,
      }),
    },
  });
  const listeners = new PortListeners<PublicPort>({
    host: '127.0.0.1',
    operatorRanges: [],
    trustedProxies: null,
    tls: null,
    connect: ({ runId, containerPort }) =>
      connections.openStream(nodeUuid, { kind: 'port', runUuid: runId, port: containerPort }),
    onRefused: () => {
      refusedCount += 1;
    },
    warn,
    ...door,
  });
  return {
    listeners,
    connections,
    tunnel,
    warnings,
    dataPort,
    refusedCount: () => refusedCount,
    dialCount: () => dialCount,
    setRunning: (value) => {
      isRunning = value;
    },
    unpublish(port) {
      open.splice(
        open.findIndex((it) => it.port === port),
        1,
      );
      listeners.sync(open);
    },
    async publish(containerPort, options = {}) {
      published.add(containerPort);
      const port = options.port ?? (await freePort());
      open.push({ port, runId: runUuid, containerPort, allowedIps: [], hasTls: false, ...options });
      listeners.sync(open);
      while (!listeners.listeningPorts.includes(port)) await new Promise((resolve) => setImmediate(resolve));
      return port;
    },
    async close() {
      listeners.close();
      connections.close();
      tunnel.close();
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

async function freePort(): Promise<number> {
  const server = tcpServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** A program in the container: a TCP server that keeps its sockets half open. */
export async function startProgram(
  serve: (socket: Socket) => void,
): Promise<{ port: number; sockets: Set<Socket>; close(): Promise<void> }> {
  const sockets = new Set<Socket>();
  const server: Server = tcpServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => sockets.delete(socket));
    serve(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    sockets,
    async close() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

export async function dial(port: number, host = '127.0.0.1'): Promise<Socket> {
  const socket = connect({ port, host, allowHalfOpen: true });
  socket.on('error', () => {});
  await once(socket, 'connect');
  return socket;
}

/** Everything until the peer ends, leaving our own side open; rejects when the connection breaks instead. */
export async function readAll(socket: Socket, onChunk?: (chunk: Buffer) => void): Promise<Buffer> {
  const chunks: Buffer[] = [];
  const take = onChunk ?? ((chunk: Buffer) => void chunks.push(chunk));
  await new Promise<void>((resolve, reject) => {
    socket.on('data', take);
    socket.once('end', resolve);
    socket.once('close', () => reject(new Error('The connection broke.')));
  });
  return Buffer.concat(chunks);
}

/** How a connection ended for a client that only reads. */
export function ending(socket: Socket): Promise<'end' | 'broken'> {
  return new Promise((resolve) => {
    let hasEnded = false;
    socket.on('end', () => {
      hasEnded = true;
      socket.end();
    });
    socket.on('close', () => resolve(hasEnded ? 'end' : 'broken'));
    socket.resume();
  });
}
