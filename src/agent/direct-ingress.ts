// Direct ingress: the agent listens on the node's public ports itself, under the rules that the gateway keeps.
import { networkInterfaces } from 'node:os';
import { rangesRule } from '../ingress/address-rules.ts';
import type { End } from '../ingress/join.ts';
import { PortListeners, type PublicPort } from '../ingress/listeners.ts';
import type { AgentMessage, NodePort } from '../protocol/agent-messages.ts';
import type { Clock } from './clock.ts';
import type { AgentLog } from './log.ts';

export interface DirectIngressOptions {
  /** What clients reach this machine by; ports are listened on it alone where it is a loopback address. */
  publicHost: string;
  connect: (port: { runUuid: string; port: number }) => Promise<End>;
  send: (message: AgentMessage) => boolean;
  clock: Clock;
  log: AgentLog;
}

const countMs = 1_000;
const loopbackRanges = ['127.0.0.0/8', '::1'];
const isLoopback = rangesRule(loopbackRanges);

export class DirectIngress {
  readonly #options: DirectIngressOptions;
  readonly #listeners: PortListeners<PublicPort>;
  readonly #refused = new Map<number, number>();
  /** The server's last list; kept while it is away. */
  #ports: PublicPort[] = [];
  #cancelTimer: () => void;

  constructor(options: DirectIngressOptions) {
    this.#options = options;
    const host = hostToListenOn(options.publicHost);
    this.#listeners = new PortListeners<PublicPort>({
      host,
      operatorRanges: isLoopback(host) ? loopbackRanges : [],
      trustedProxies: null,
      tls: null,
      connect: ({ runId, containerPort }) => options.connect({ runUuid: runId, port: containerPort }),
      onRefused: ({ port }) => void this.#refused.set(port, (this.#refused.get(port) ?? 0) + 1),
      warn: (fields, message) => options.log.warn(fields, message),
    });
    this.#cancelTimer = options.clock.after(countMs, () => this.#tick());
  }

  get listeningPorts(): number[] {
    return this.#listeners.listeningPorts;
  }

  receive(ports: readonly NodePort[]): void {
    this.#ports = ports.map((port) => ({
      port: port.port,
      runId: port.run_uuid,
      containerPort: port.container_port,
      allowedIps: port.allowed_ips,
      hasTls: false,
    }));
    this.#listeners.sync(this.#ports);
  }

  close(): void {
    this.#cancelTimer();
    this.#listeners.close();
  }

  #tick(): void {
    this.#cancelTimer = this.#options.clock.after(countMs, () => this.#tick());
    // A port that was in use when it was told of may be free now.
    this.#listeners.sync(this.#ports);
    if (this.#refused.size === 0) return;
    const ports = [...this.#refused].map(([port, count]) => ({ port, count }));
    if (this.#options.send({ type: 'refusals', ports })) this.#refused.clear();
  }
}

/** All of IPv6 is all of IPv4 too, where the machine has it. */
function hostToListenOn(publicHost: string): string {
  if (isLoopback(publicHost)) return publicHost;
  if (publicHost === 'localhost') return '127.0.0.1';
  const addresses = Object.values(networkInterfaces()).flatMap((its) => its ?? []);
  return addresses.some(({ family }) => family === 'IPv6') ? '::' : '0.0.0.0';
}
