// Ports of containers: bytes through gateway, data connection and agent beside a plain Node pipe, and stalled readers.
import { makeSelfSigned } from '../../src/cli/self-signed.ts';
import { atMost, type Figure, median, percentile, ratioFigure } from '../support/figures.ts';
import { startWorker, type Worker } from '../support/worker.ts';
import type { GatewayCalls } from '../workers/gateway.ts';

type Place = Worker<GatewayCalls>;

const section = 'gateway';
const workerFile = new URL('../workers/gateway.ts', import.meta.url);
const stalledCount = 500;
/** Filling every buffer on the way takes seconds; after that nothing moves. */
const settle = { lookMs: 1_000, quietMs: 30, looks: 40 };

export async function benchGateway(
  _workspace: unknown,
  { isQuick }: { isQuick: boolean },
): Promise<Figure[]> {
  const places: Place[] = [];
  const start = (): Place => {
    const place = startWorker<GatewayCalls>(workerFile);
    places.push(place);
    return place;
  };
  try {
    const chain = await startChain(start);
    return [...(await measureThroughput(chain, isQuick)), ...(await measureStalled(chain))];
  } finally {
    for (const { child } of places) child.kill('SIGKILL');
  }
}

interface Chain {
  client: Place;
  gateway: Place;
  agent: Place;
  ca: string;
  /** Public ports, and the pipes' beside them. */
  ports: {
    sink: number;
    sinkTls: number;
    source: number;
    greeter: number;
    pipedSink: number;
    pipedSource: number;
  };
}

async function startChain(start: () => Place): Promise<Chain> {
  const { certPem, keyPem } = makeSelfSigned(['localhost'], { nowMs: Date.now(), days: 2 });
  const [program, pipe, agent, gateway, client] = [start(), start(), start(), start(), start()];
  const inside = await program.call('startProgram', null);
  const pipedSink = await pipe.call('startPipe', { targetPort: inside.sink });
  const pipedSource = await pipe.call('startPipe', { targetPort: inside.source });
  const agentPort = await agent.call('startAgent', { ports: Object.values(inside) });
  await gateway.call('startGateway', { agentPort, certPem, keyPem });
  const [sink = 0, sinkTls = 0, source = 0, greeter = 0] = await gateway.call('publish', {
    ports: [
      { containerPort: inside.sink, hasTls: false },
      { containerPort: inside.sink, hasTls: true },
      { containerPort: inside.source, hasTls: false },
      { containerPort: inside.greeter, hasTls: false },
    ],
  });
  const ports = { sink, sinkTls, source, greeter, pipedSink, pipedSource };
  return { client, gateway, agent, ca: certPem, ports };
}

/** By turns, so that whatever else the machine does falls on all alike. */
async function measureThroughput({ client, ca, ports }: Chain, isQuick: boolean): Promise<Figure[]> {
  const byteCount = (isQuick ? 128 : 512) * 1024 * 1024;
  const rounds = isQuick ? 3 : 5;
  const ways = {
    pipe: () => client.call('upload', { port: ports.pipedSink, byteCount, ca: null }),
    gateway: () => client.call('upload', { port: ports.sink, byteCount, ca: null }),
    tls: () => client.call('upload', { port: ports.sinkTls, byteCount, ca }),
    pipeDown: () => client.call('download', { port: ports.pipedSource, byteCount, ca: null }),
    gatewayDown: () => client.call('download', { port: ports.source, byteCount, ca: null }),
  };
  type Way = keyof typeof ways;
  const names = Object.keys(ways) as Way[];
  const speeds = Object.fromEntries(names.map((name) => [name, [] as number[]])) as Record<Way, number[]>;
  for (const name of names) await ways[name]();
  for (let round = 0; round < rounds; round += 1)
    for (const name of names) speeds[name].push((await ways[name]()) / 1e6);
  const figure = (name: string, way: Way, options: { beside: Way; atLeast?: number }) =>
    ratioFigure(
      { section, name, unit: 'MB/s', raw: { [way]: speeds[way], [options.beside]: speeds[options.beside] } },
      {
        value: median(speeds[way]),
        floor: { name: 'node pipe', value: median(speeds[options.beside]) },
        ...(options.atLeast === undefined ? {} : { atLeast: options.atLeast }),
      },
    );
  return [
    figure('client to container', 'gateway', { beside: 'pipe', atLeast: 0.6 }),
    figure('client to container, TLS', 'tls', { beside: 'pipe', atLeast: 0.5 }),
    figure('container to client', 'gatewayDown', { beside: 'pipeDown' }),
  ];
}

async function measureStalled({ client, gateway, agent, ports }: Chain): Promise<Figure[]> {
  const before = await memoryOf({ gateway, agent });
  await client.call('stall', { port: ports.source, count: stalledCount });
  await untilQuiet(gateway);
  const greetings: number[] = [];
  for (let at = 0; at < 20; at += 1) greetings.push(await client.call('greet', { port: ports.greeter }));
  const after = await memoryOf({ gateway, agent });
  await client.call('unstall', null);
  const what = `with ${stalledCount} stalled readers`;
  const grown = (after.gateway - before.gateway) / 1e6;
  const slowest = percentile(greetings, 1);
  return [
    {
      section,
      name: `new connection to its greeting, ${what}, slowest of 20`,
      value: slowest,
      unit: 'ms',
      goal: atMost(slowest, 1_000, 'ms'),
      raw: greetings,
    },
    {
      section,
      name: `gateway grows ${what}`,
      value: grown,
      unit: 'MB',
      goal: atMost(grown, 200, 'MB'),
      raw: { before, after },
    },
    { section, name: `agent grows ${what}`, value: (after.agent - before.agent) / 1e6, unit: 'MB' },
  ];
}

async function untilQuiet(gateway: Place): Promise<void> {
  let before = await gateway.call('cpuMs', null);
  for (let look = 0; look < settle.looks; look += 1) {
    await new Promise((resolve) => setTimeout(resolve, settle.lookMs));
    const now = await gateway.call('cpuMs', null);
    if (now - before < settle.quietMs) return;
    before = now;
  }
}

async function memoryOf({ gateway, agent }: { gateway: Place; agent: Place }) {
  return {
    gateway: await gateway.call('memoryBytes', null),
    agent: await agent.call('memoryBytes', null),
  };
}
