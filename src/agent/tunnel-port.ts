// Streams to container ports: finds the run's container, connects, and joins stream and socket.
import { connect, type Socket } from 'node:net';
import type { DataStream } from '../ingress/data-stream.ts';
import { abort, join } from '../ingress/join.ts';
import { portPatienceMs, type StreamRefusal } from '../protocol/data-streams.ts';
import { type Clock, sleep } from './clock.ts';
import type { Runtime } from './runtime.ts';
import type { StreamHandler } from './tunnel.ts';

/** A run whose container is up, as its record shows it. */
export interface LiveRun {
  containerId: string;
  publishedPorts: readonly number[];
}

export interface PortStreamDeps {
  runtime: Pick<Runtime, 'containerAddress'>;
  clock: Clock;
  /** null: no container of that run is up on this node. */
  findRun: (runUuid: string) => LiveRun | null;
}

const connectTimeoutMs = 5_000;
const firstRetryMs = 50;
const maxRetryMs = 500;
/** Idle connections stay; the kernel's own probes find a container whose network is gone. */
const keptAlive = { keepAlive: true, keepAliveInitialDelay: 60_000 };

/** Thrown where a connection to a container port is not possible, with the words for the server. */
export class PortUnreachable extends Error {
  readonly refusal: StreamRefusal;

  constructor(refusal: StreamRefusal) {
    super(refusal.message);
    this.name = 'PortUnreachable';
    this.refusal = refusal;
  }
}

export function portStreams(deps: PortStreamDeps): StreamHandler {
  return (stream, target) => void forward(deps, stream, target);
}

async function forward(
  deps: PortStreamDeps,
  stream: DataStream,
  target: { runUuid: string; port: number },
): Promise<void> {
  const closed = new AbortController();
  stream.once('close', () => closed.abort());
  try {
    const socket = await connectToRun(deps, target, closed.signal);
    if (stream.destroyed) return abort(socket);
    stream.accept();
    join(stream, socket);
  } catch (error) {
    stream.refuse(refusalOf(error));
  }
}

function refusalOf(error: unknown): StreamRefusal {
  if (error instanceof PortUnreachable) return error.refusal;
  return { status: 502, code: 'port_unreachable', message: `The container cannot be reached: ${error}.` };
}

/** Tries a port that does not listen yet for `portPatienceMs`, while the run lives and `signal` is quiet. */
export async function connectToRun(
  { runtime, clock, findRun }: PortStreamDeps,
  { runUuid, port }: { runUuid: string; port: number },
  signal: AbortSignal,
): Promise<Socket> {
  const giveUpAtMs = clock.nowMs() + portPatienceMs;
  for (let retryMs = firstRetryMs; ; retryMs = Math.min(maxRetryMs, retryMs * 2)) {
    const run = findRun(runUuid);
    if (run === null)
      throw unreachable(404, 'run_not_here', 'No container of this job run is up on the node.');
    if (!run.publishedPorts.includes(port))
      throw unreachable(404, 'port_not_published', `The job run does not publish port ${port}.`);
    const found = await runtime.containerAddress(run.containerId);
    try {
      if (found === null) throw new Error('the container has no address');
      return await openSocket(found.address, port);
    } catch (cause) {
      const isOver = signal.aborted || clock.nowMs() + retryMs > giveUpAtMs;
      if (isOver)
        throw unreachable(
          502,
          'port_unreachable',
          `Port ${port} of the container does not answer: ${reasonOf(cause)}.`,
        );
    }
    await sleep(clock, retryMs, signal);
  }
}

function unreachable(status: number, code: string, message: string): PortUnreachable {
  return new PortUnreachable({ status, code, message });
}

export function openSocket(host: string, port: number, timeoutMs = connectTimeoutMs): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, allowHalfOpen: true, noDelay: true, ...keptAlive });
    const timer = setTimeout(() => socket.destroy(new Error('no answer in time')), timeoutMs);
    socket.once('connect', () => {
      clearTimeout(timer);
      socket.off('error', reject);
      resolve(socket);
    });
    socket.once('error', reject);
    socket.once('close', () => clearTimeout(timer));
    socket.on('error', () => {});
  });
}

function reasonOf(error: unknown): string {
  const { code, message } = error as { code?: string; message?: string };
  return code === 'ECONNREFUSED' ? 'nothing listens there' : (message ?? String(error));
}
