// Simulated nodes: the agent protocol over real, signed WebSockets, with a runtime that ends every run at once.
import { WebSocket } from 'ws';
import { newId } from '../src/main/ids.ts';
import {
  type AgentMessage,
  agentConnectPath,
  type DesiredRun,
  type Inventory,
  protocolVersion,
  type RunEvent,
  type ServerMessage,
} from '../src/protocol/agent-messages.ts';
import { type SigningKey, signRequest } from '../src/sdk/sign.ts';
import { serveWorker } from './support/worker.ts';

const connectAtOnce = 32;
const gigabyte = 1_000_000_000;

/** Large enough that nothing ever waits for room. */
const inventory: Inventory = {
  cpu_count: 4_000,
  cpu_model: 'simulated',
  architecture: 'x86_64',
  ram_bytes: 16_000 * gigabyte,
  storage_bytes: 64_000 * gigabyte,
  storage_free_bytes: 64_000 * gigabyte,
  gpus: [],
  gpu_note: null,
  engine: { name: 'simulated', version: '1', api_version: '1' },
  cgroup_version: 2,
  operating_system: 'simulated',
  isolation: 'enforced',
};

class Agent {
  readonly #socket: WebSocket;
  #sequence = 0;
  /** Sequence of a run's `exited` report: once acknowledged, the job's end is stored. */
  readonly #exits = new Set<number>();
  readonly #known = new Set<string>();

  constructor(options: {
    url: string;
    key: SigningKey;
    onReady: () => void;
    onLost: (reason: string) => void;
  }) {
    const { url, key } = options;
    this.#socket = new WebSocket(new URL(agentConnectPath, url.replace(/^http/, 'ws')), {
      headers: signRequest({ key, method: 'GET', path: agentConnectPath }),
      perMessageDeflate: false,
    });
    this.#socket.on('open', () => this.#hello());
    this.#socket.on('error', (error) => options.onLost(error.message));
    this.#socket.on('close', (code, reason) => options.onLost(`closed ${code} ${reason}`));
    this.#socket.on('message', (data) => this.#receive(JSON.parse(String(data)), options.onReady));
  }

  beat(): void {
    this.#send({ type: 'heartbeat' });
  }

  close(): void {
    this.#socket.removeAllListeners('close');
    this.#socket.terminate();
  }

  #send(message: AgentMessage): void {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  #hello(): void {
    this.#send({
      ...{ type: 'hello', protocol: protocolVersion, agent_version: 'simulated', session_uuid: newId() },
      ...{ inventory, containers: [] },
    });
  }

  #receive(message: ServerMessage, onReady: () => void): void {
    switch (message.type) {
      case 'welcome':
        onReady();
        return;
      case 'desired':
        for (const run of message.runs) this.#finish(run);
        return;
      case 'report_ack':
        if (this.#exits.delete(message.sequence)) noteCompleted();
        return;
      case 'refused':
        throw new Error(`A simulated agent was refused: ${message.message}`);
    }
  }

  #finish(run: DesiredRun): void {
    if (this.#known.has(run.run_uuid)) return;
    this.#known.add(run.run_uuid);
    pickedUp.set(run.job_uuid, process.hrtime.bigint());
    this.#report(run, { kind: 'preparing', progress: null });
    this.#report(run, running);
    this.#exits.add(this.#report(run, exited));
    this.#report(run, released);
  }

  #report(run: DesiredRun, event: RunEvent): number {
    this.#sequence += 1;
    const { run_uuid, attempt } = run;
    this.#send({ type: 'report', sequence: this.#sequence, run_uuid, attempt, event });
    return this.#sequence;
  }
}

const running: RunEvent = {
  ...{ kind: 'running', started_ms_ago: 0, image_digest: null, image_size_bytes: null, ports: [] },
};
const exited: RunEvent = {
  ...{ kind: 'exited', exit_code: 0, exit_signal: null, is_oom_killed: false, ended_ms_ago: 0, ran_ms: 0 },
  ...{ error: null, last_log_lines: '' },
};

const gone = { state: 'gone', why: null } as const;
/** As long as a real one, since the server stores it with each run. */
const released: RunEvent = {
  ...{ kind: 'released', is_log_complete: true },
  steps: ['exited', 'log_stored', 'removed', 'processes_gone', 'networks_gone', 'volumes_gone'].map(
    (step) => ({ step, took_ms: 0 }),
  ),
  proof: {
    ...{ is_whole: true, container: gone, processes: gone, networks: gone },
    ...{ volumes: { state: 'none', why: null }, gpus: [] },
  },
};

let agents: Agent[] = [];
let heart: NodeJS.Timeout | undefined;
const pickedUp = new Map<string, bigint>();
let completedCount = 0;
let awaited: { count: number; resolve: (atNs: bigint) => void } | undefined;

function noteCompleted(): void {
  completedCount += 1;
  if (awaited === undefined || completedCount < awaited.count) return;
  awaited.resolve(process.hrtime.bigint());
  awaited = undefined;
}

/** Connects one agent a key; resolves when all are welcome. */
async function connect({
  url,
  keys,
  heartbeatMs,
}: {
  url: string;
  keys: SigningKey[];
  heartbeatMs: number;
}): Promise<void> {
  const waiting = [...keys];
  const dial = async () => {
    for (let key = waiting.pop(); key !== undefined; key = waiting.pop())
      agents.push(await dialOne(url, key));
  };
  await Promise.all(Array.from({ length: connectAtOnce }, dial));
  // Spread over the interval, as the agents of a real fleet are.
  let next = 0;
  const perTick = Math.max(1, Math.ceil(agents.length / (heartbeatMs / 20)));
  const everyMs = Math.max(20, (heartbeatMs * perTick) / agents.length);
  heart = setInterval(() => {
    for (let beat = 0; beat < perTick; beat += 1) agents[next++ % agents.length]?.beat();
  }, everyMs);
}

function dialOne(url: string, key: SigningKey): Promise<Agent> {
  return new Promise((resolve, reject) => {
    const agent: Agent = new Agent({
      ...{ url, key },
      onReady: () => resolve(agent),
      onLost: (reason) => reject(new Error(`A simulated agent lost its connection: ${reason}`)),
    });
  });
}

/** Counts from zero again. */
async function reset(_: null): Promise<void> {
  completedCount = 0;
  pickedUp.clear();
}

/** When the `count`-th job since reset was known as ended in the database, by the machine's monotonic clock. */
async function awaitCompleted({ count, limitMs }: { count: number; limitMs: number }): Promise<bigint> {
  if (completedCount >= count) return process.hrtime.bigint();
  return new Promise((resolve, reject) => {
    const timer = setTimeout(
      () => reject(new Error(`${completedCount} of ${count} jobs were completed in ${limitMs} ms.`)),
      limitMs,
    );
    awaited = {
      count,
      resolve: (atNs) => {
        clearTimeout(timer);
        resolve(atNs);
      },
    };
  });
}

/** When each job's run reached an agent. */
async function pickups(_: null): Promise<Map<string, bigint>> {
  return new Map(pickedUp);
}

async function disconnect(_: null): Promise<void> {
  clearInterval(heart);
  for (const agent of agents) agent.close();
  agents = [];
}

const api = { connect, reset, awaitCompleted, pickups, disconnect };
export type SimulatedAgentsApi = typeof api;
serveWorker(api);
