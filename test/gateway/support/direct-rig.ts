// An agent's own listeners before a program, as with direct ingress; the server's messages and the engine are the test's.
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { type Clock, systemClock } from '../../../src/agent/clock.ts';
import { DirectIngress } from '../../../src/agent/direct-ingress.ts';
import { connectToRun } from '../../../src/agent/tunnel-port.ts';
import type { NodePort } from '../../../src/protocol/agent-messages.ts';
import { type Rig, runUuid } from './rig.ts';

/** What a test asks of a public port, whoever serves it. */
export type Door = Pick<Rig, 'publish' | 'unpublish' | 'setRunning' | 'refusedCount' | 'close'> &
  Partial<Pick<Rig, 'dataPort'>>;

/** `host` is what clients are told; refusals are counted every tenth of a second. */
export async function startDirectRig({ host = 'node.example' } = {}): Promise<Door> {
  const published = new Set<number>();
  const open: NodePort[] = [];
  let refusedCount = 0;
  let isRunning = true;
  const clock: Clock = { ...systemClock, after: (delayMs, task) => systemClock.after(delayMs / 10, task) };
  const quiet = () => {};
  const deps = {
    runtime: { containerAddress: () => Promise.resolve({ address: '127.0.0.1', isHealthy: null }) },
    clock: systemClock,
    findRun: (uuid: string) =>
      isRunning && uuid === runUuid ? { containerId: 'c', publishedPorts: [...published] } : null,
  };
  const ingress = new DirectIngress({
    publicHost: host,
    connect: (port) => connectToRun(deps, port, new AbortController().signal),
    send: (message) => {
      if (message.type === 'refusals') for (const { count } of message.ports) refusedCount += count;
      return true;
    },
    clock,
    log: { debug: quiet, info: quiet, warn: quiet, error: quiet },
  });
  return {
    refusedCount: () => refusedCount,
    setRunning: (value) => {
      isRunning = value;
    },
    unpublish(port) {
      open.splice(
        open.findIndex((it) => it.port === port),
        1,
      );
      ingress.receive(open);
    },
    async publish(containerPort, options = {}) {
      published.add(containerPort);
      const { port = await freePort(), runId = runUuid, allowedIps = [] } = options;
      const known = open.findIndex((it) => it.port === port);
      const entry = { port, run_uuid: runId, container_port: containerPort, allowed_ips: [...allowedIps] };
      open.splice(known === -1 ? open.length : known, known === -1 ? 0 : 1, entry);
      ingress.receive(open);
      while (!ingress.listeningPorts.includes(port)) await new Promise((resolve) => setImmediate(resolve));
      return port;
    },
    async close() {
      ingress.close();
    },
  };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
