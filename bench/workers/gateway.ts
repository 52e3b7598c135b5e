// The places a byte passes through, each in a process of its own: program, agent, gateway, plain pipe, client.
import { once } from 'node:events';
import { createServer as createHttpServer } from 'node:http';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { createSecureContext, connect as tlsConnect } from 'node:tls';
import { systemClock } from '../../src/agent/clock.ts';
import { Tunnel } from '../../src/agent/tunnel.ts';
import { portStreams } from '../../src/agent/tunnel-port.ts';
import { DataConnections } from '../../src/gateway/data-connections.ts';
import { PortListeners, type PublicPort } from '../../src/ingress/listeners.ts';
import { serveWorker } from '../support/worker.ts';

const host = '127.0.0.1';
const runUuid = '019582a6-27fc-731d-8000-000000000001';
const nodeUuid = '019582a6-27fc-731d-8000-00000000000a';
const block = Buffer.alloc(256 * 1024, 7);

async function listen(server: Server): Promise<number> {
  server.listen(0, host);
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

/** A sink that says how much came, a source that never ends, and a server that greets as SSH servers do. */
async function startProgram(_: null): Promise<{ sink: number; source: number; greeter: number }> {
  const sink = createServer({ allowHalfOpen: true }, (socket) => {
    let byteCount = 0;
    socket.on('error', () => {});
    socket.on('data', (chunk) => {
      byteCount += chunk.length;
    });
    socket.on('end', () => socket.end(String(byteCount)));
  });
  const source = createServer((socket) => {
    socket.on('error', () => {});
    const more = () => {
      while (socket.write(block));
    };
    socket.on('drain', more);
    more();
  });
  const greeter = createServer((socket) => {
    socket.on('error', () => {});
    socket.write('SSH-2.0-bench\r\n');
    socket.pipe(socket);
  });
  return { sink: await listen(sink), source: await listen(source), greeter: await listen(greeter) };
}

async function startPipe({ targetPort }: { targetPort: number }): Promise<number> {
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    const far = connect({ port: targetPort, host, allowHalfOpen: true, noDelay: true });
    for (const end of [socket, far]) end.on('error', () => {});
    socket.pipe(far);
    far.pipe(socket);
  });
  return listen(server);
}

/** Dials a data connection to the gateway for every request it gets. */
async function startAgent({ ports }: { ports: number[] }): Promise<number> {
  const server = createHttpServer((request, response) => {
    const query = new URL(request.url ?? '/', `http://${host}`).searchParams;
    const asked = { ticket: query.get('ticket') ?? '', count: Number(query.get('count')) };
    void tunnelTo(query.get('url') ?? '', ports).dial({ url: '', ...asked });
    response.end();
  });
  return listen(server);
}

function tunnelTo(serverUrl: string, ports: number[]): Tunnel {
  return new Tunnel({
    servers: { all: [serverUrl] },
    signHeaders: () => ({}),
    onServerTime: () => {},
    log: { debug() {}, info() {}, warn: console.error, error: console.error },
    handlers: {
      port: portStreams({
        runtime: { containerAddress: () => Promise.resolve({ address: host, isHealthy: null }) },
        clock: systemClock,
        findRun: () => ({ containerId: 'c', publishedPorts: ports }),
      }),
    },
  });
}

let listeners: PortListeners<PublicPort> | undefined;

async function startGateway(options: { agentPort: number; certPem: string; keyPem: string }): Promise<void> {
  const server = createHttpServer();
  const url = `http://${host}:${await listen(server)}`;
  const connections = new DataConnections({
    askToDial: ({ ticket, count }) =>
      void fetch(
        `http://${host}:${options.agentPort}/?url=${encodeURIComponent(url)}&ticket=${ticket}&count=${count}`,
      ),
    authenticate: () => Promise.resolve({ nodeId: nodeUuid }),
    newTicket: () => crypto.randomUUID(),
  });
  server.on('upgrade', (request, socket, head) => void connections.takeUpgrade(request, socket, head));
  listeners = new PortListeners<PublicPort>({
    host,
    operatorRanges: [],
    trustedProxies: null,
    tls: {
      context: createSecureContext({ cert: options.certPem, key: options.keyPem }),
      isPlainAllowed: false,
    },
    connect: ({ containerPort }) =>
      connections.openStream(nodeUuid, { kind: 'port', runUuid, port: containerPort }),
    onRefused: () => {},
    warn: console.error,
  });
}

/** The gateway's complete list of open ports, as pairs of container port and TLS; gives their public numbers. */
async function publish({
  ports,
}: {
  ports: { containerPort: number; hasTls: boolean }[];
}): Promise<number[]> {
  const numbers: number[] = [];
  for (const _ of ports) {
    const server = createServer();
    numbers.push(await listen(server));
    server.close();
    await once(server, 'close');
  }
  listeners?.sync(
    ports.map((port, at) => ({ ...port, port: numbers[at] ?? 0, runId: runUuid, allowedIps: [] })),
  );
  return numbers;
}

async function memoryBytes(_: null): Promise<number> {
  globalThis.gc?.();
  return process.memoryUsage.rss();
}

/** CPU milliseconds of this process so far. */
async function cpuMs(_: null): Promise<number> {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

async function dial(port: number, ca: string | null): Promise<Socket> {
  const socket =
    ca === null
      ? connect({ port, host, allowHalfOpen: true, noDelay: true })
      : tlsConnect({ port, host, ca, servername: 'localhost' });
  await once(socket, ca === null ? 'connect' : 'secureConnect');
  return socket;
}

interface Transfer {
  port: number;
  byteCount: number;
  /** null: plain TCP. */
  ca: string | null;
}

/** Bytes a second from the first byte sent until the other end has said how many arrived. */
async function upload({ port, byteCount, ca }: Transfer): Promise<number> {
  const socket = await dial(port, ca);
  const startedAt = performance.now();
  let left = byteCount;
  await new Promise<void>((resolve) => {
    const more = () => {
      while (left > 0) {
        left -= block.length;
        if (!socket.write(block)) return;
      }
      socket.off('drain', more);
      socket.end();
      resolve();
    };
    socket.on('drain', more);
    more();
  });
  const [answer] = await once(socket, 'data');
  if (Number(answer) !== byteCount) throw new Error(`${answer} of ${byteCount} bytes arrived.`);
  return (byteCount * 1000) / (performance.now() - startedAt);
}

async function download({ port, byteCount, ca }: Transfer): Promise<number> {
  const socket = await dial(port, ca);
  const startedAt = performance.now();
  let seenCount = 0;
  await new Promise<void>((resolve) => {
    socket.on('data', (chunk) => {
      seenCount += chunk.length;
      if (seenCount >= byteCount) resolve();
    });
  });
  const tookMs = performance.now() - startedAt;
  socket.destroy();
  return (seenCount * 1000) / tookMs;
}

const stalled: Socket[] = [];

/** Opens connections whose bytes nobody reads. */
async function stall({ port, count }: { port: number; count: number }): Promise<void> {
  const sockets = await Promise.all(Array.from({ length: count }, () => dial(port, null)));
  for (const socket of sockets) {
    socket.pause();
    socket.on('error', () => {});
  }
  stalled.push(...sockets);
}

async function unstall(_: null): Promise<void> {
  for (const socket of stalled.splice(0)) socket.destroy();
}

/** Milliseconds until a new connection has its greeting. */
async function greet({ port }: { port: number }): Promise<number> {
  const startedAt = performance.now();
  const socket = await dial(port, null);
  await once(socket, 'data');
  socket.destroy();
  return performance.now() - startedAt;
}

const calls = {
  startProgram,
  startPipe,
  startAgent,
  startGateway,
  publish,
  memoryBytes,
  cpuMs,
  upload,
  download,
  stall,
  unstall,
  greet,
};
export type GatewayCalls = typeof calls;

serveWorker(calls);
