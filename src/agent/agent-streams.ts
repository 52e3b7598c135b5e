// What reaches into the node's containers from outside: data connections, published ports, exec and files.
import type { AgentMessage, Inventory, ServerMessage } from '../protocol/agent-messages.ts';
import type { Clock } from './clock.ts';
import type { ContainerDoor } from './container-door.ts';
import { publishedPorts } from './container-order.ts';
import { DirectIngress } from './direct-ingress.ts';
import type { AgentLog } from './log.ts';
import { PortProbes, type PortReading } from './port-probe.ts';
import type { RunRecord } from './run-record.ts';
import type { Runtime } from './runtime.ts';
import type { Servers } from './servers.ts';
import { Tunnel } from './tunnel.ts';
import { execStreams } from './tunnel-exec.ts';
import { fileStreams } from './tunnel-files.ts';
import { connectToRun, type LiveRun, portStreams } from './tunnel-port.ts';

export interface AgentStreamsOptions {
  runtime: Runtime;
  door: ContainerDoor;
  clock: Clock;
  log: AgentLog;
  servers: Servers;
  signHeaders: (method: string, path: string) => Record<string, string>;
  onServerTime: (serverTimeMs: number) => void;
  ca?: string;
  /** The agent serves public ports itself, under this host; null: the gateway does. */
  publicHost: string | null;
  /** Runs with a living container. */
  livingRuns: () => readonly RunRecord[];
  reportPort: (reading: PortReading) => void;
  send: (message: AgentMessage) => boolean;
}

export class AgentStreams {
  readonly #options: AgentStreamsOptions;
  readonly #tunnel: Tunnel;
  readonly #probes: PortProbes;
  readonly #direct: DirectIngress | null;

  constructor(options: AgentStreamsOptions) {
    this.#options = options;
    const { runtime, clock, log, door, publicHost, send } = options;
    const findRun = (runUuid: string) => this.#findRun(runUuid);
    const ports = { runtime, clock, findRun };
    this.#tunnel = new Tunnel({
      ...options,
      handlers: {
        port: portStreams(ports),
        exec: execStreams({ door, log, findRun }),
        files: fileStreams({ door, log, findRun }),
      },
    });
    this.#probes = new PortProbes({ runtime, clock, onReading: options.reportPort });
    const connect = (port: { runUuid: string; port: number }) =>
      connectToRun(ports, port, new AbortController().signal);
    this.#direct = publicHost === null ? null : new DirectIngress({ publicHost, connect, send, clock, log });
  }

  /** What the inventory says of it. */
  get ingress(): Pick<Inventory, 'ingress'> {
    const { publicHost } = this.#options;
    return publicHost === null ? {} : { ingress: { public_host: publicHost } };
  }

  receive(message: ServerMessage): void {
    if (message.type === 'dial') void this.#tunnel.dial(message);
    if (message.type === 'ports') this.#direct?.receive(message.ports);
  }

  /** Runs may have started or ended. */
  look(): void {
    const running = this.#options
      .livingRuns()
      // The server takes the state of a port only after it knows that the run is RUNNING.
      .filter((record) => record.reports.running !== 'none' && record.signalledAtMs === null);
    this.#probes.sync(
      running.flatMap((record) => {
        const { runUuid, attempt, containerId } = record;
        return containerId === null
          ? []
          : [{ runUuid, attempt, containerId, publishedPorts: portsOf(record) }];
      }),
    );
  }

  close(): void {
    this.#probes.close();
    this.#direct?.close();
    this.#tunnel.close();
  }

  #findRun(runUuid: string): LiveRun | null {
    const record = this.#options.livingRuns().find((it) => it.runUuid === runUuid);
    if (record === undefined || record.containerId === null) return null;
    return { containerId: record.containerId, publishedPorts: portsOf(record) };
  }
}

function portsOf({ desired, image }: RunRecord): number[] {
  return publishedPorts(desired?.container, image?.exposedPorts ?? []);
}
