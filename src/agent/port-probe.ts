// Watches the published ports of running containers: tells when one accepts connections, and when it no longer does.
import { createHash } from 'node:crypto';
import { type Clock, sleep } from './clock.ts';
import type { Runtime } from './runtime.ts';
import { readSshHostKey } from './ssh-host-key.ts';
import { openSocket } from './tunnel-port.ts';

export interface ProbedRun {
  runUuid: string;
  attempt: number;
  containerId: string;
  publishedPorts: readonly number[];
}

export interface PortReading {
  runUuid: string;
  attempt: number;
  containerPort: number;
  isReady: boolean;
  hostKey: string | null;
}

export interface PortProbeOptions {
  runtime: Pick<Runtime, 'containerAddress'>;
  clock: Clock;
  onReading: (reading: PortReading) => void;
}

const sshPort = 22;
const firstDelayMs = 50;
const maxDelayMs = 2_000;
/** A port that answers is looked at seldom: each look is a connection that the program sees. */
const readyDelayMs = 15_000;
/** SSH servers log every connection without a login, into the job's own log. */
const readySshDelayMs = 5 * 60_000;
const failuresBeforeNotReady = 3;
const probeTimeoutMs = 2_000;

export class PortProbes {
  readonly #options: PortProbeOptions;
  readonly #running = new Map<string, AbortController>();

  constructor(options: PortProbeOptions) {
    this.#options = options;
  }

  /** The complete list of runs whose containers are up: new ones are watched, others no longer. */
  sync(runs: Iterable<ProbedRun>): void {
    const wanted = new Map([...runs].map((run) => [`${run.containerId} ${run.attempt}`, run]));
    for (const [key, stop] of this.#running) {
      if (wanted.has(key)) continue;
      stop.abort();
      this.#running.delete(key);
    }
    for (const [key, run] of wanted) {
      if (this.#running.has(key)) continue;
      const stop = new AbortController();
      this.#running.set(key, stop);
      for (const port of run.publishedPorts) void this.#watch(run, port, stop.signal);
    }
  }

  close(): void {
    this.sync([]);
  }

  async #watch(run: ProbedRun, containerPort: number, signal: AbortSignal): Promise<void> {
    const { clock, onReading } = this.#options;
    const { runUuid, attempt } = run;
    let isReady = false;
    let failureCount = 0;
    let delayMs = firstDelayMs;
    while (!signal.aborted) {
      const answer = await this.#look(run, containerPort, isReady);
      if (signal.aborted) return;
      failureCount = answer === null ? failureCount + 1 : 0;
      if (answer !== null && !isReady) {
        isReady = true;
        onReading({ runUuid, attempt, containerPort, isReady, hostKey: answer.hostKey });
      } else if (isReady && failureCount >= failuresBeforeNotReady) {
        isReady = false;
        onReading({ runUuid, attempt, containerPort, isReady, hostKey: null });
      }
      delayMs = nextDelayMs({ isReady, containerPort, failureCount, delayMs });
      await sleep(clock, delayMs, signal);
    }
  }

  /** null: it does not accept connections, or its health check says that it is not well. */
  async #look(
    { containerId }: ProbedRun,
    containerPort: number,
    wasReady: boolean,
  ): Promise<{ hostKey: string | null } | null> {
    try {
      const found = await this.#options.runtime.containerAddress(containerId);
      if (found === null || found.isHealthy === false) return null;
      const socket = await openSocket(found.address, containerPort, probeTimeoutMs);
      if (containerPort !== sshPort || wasReady) {
        socket.destroy();
        return { hostKey: null };
      }
      const hostKey = await readSshHostKey(socket, (key) => createHash('sha256').update(key).digest());
      // A published 22 without an SSH server behind it is not ready for those who come for SSH.
      return hostKey === null ? null : { hostKey };
    } catch {
      return null;
    }
  }
}

function nextDelayMs(state: {
  isReady: boolean;
  containerPort: number;
  failureCount: number;
  delayMs: number;
}): number {
  if (!state.isReady) return Math.min(maxDelayMs, state.delayMs * 2);
  if (state.failureCount > 0) return maxDelayMs;
  return state.containerPort === sshPort ? readySshDelayMs : readyDelayMs;
}
