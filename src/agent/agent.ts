// The node's agent: wires engine, loop and control connection, and runs until it is told to stop.
import { type Hello, type Inventory, protocolVersion, type Welcome } from '../protocol/agent-messages.ts';
import { type Machine, openStores, readGuardedGpus, thisMachine } from './agent-stores.ts';
import { AgentStreams } from './agent-streams.ts';
import { type Clock, sleep, systemClock } from './clock.ts';
import { DockerDoor } from './container-door.ts';
import type { NodeIdentity } from './container-order.ts';
import { ControlPlaneClient, type ControlSocket } from './control-plane-client.ts';
import { DockerRuntime } from './docker.ts';
import { EngineHealth } from './engine-health.ts';
import type { GpuTimes } from './gpu-guard.ts';
import { HardwareSampler, sendSamples } from './hardware-sampler.ts';
import { isNews, readInventory } from './inventory.ts';
import type { AgentLog } from './log.ts';
import { AgentLoop } from './loop.ts';
import { type Isolation, NodeIsolation } from './network.ts';
import { watchCutOff } from './own-stop.ts';
import type { Runtime } from './runtime.ts';
import { ServerClock, skewSentence } from './server-clock.ts';
import { Servers } from './servers.ts';
import { watchStorage } from './storage-limit.ts';

/** The node's key file. `node_uuid` may be absent: the server says it on the first connection. */
export interface NodeKey {
  public_key: string;
  secret_key: string;
  url: string;
  node_uuid?: string;
}

export interface AgentOptions {
  nodeKey: NodeKey;
  /** Any of them serves the node; absent: the key's alone. */
  serverUrls?: readonly string[];
  agentVersion: string;
  /** New at every start. */
  sessionUuid: string;
  /** Path of the engine's socket; null: DOCKER_HOST, else the usual one. */
  engineSocket: string | null;
  /** `timeMs` is the server's epoch time, as far as it is known. */
  signHeaders: (method: string, path: string, timeMs: number) => Record<string, string>;
  /** PEM of the authority that the server's certificate must come from. */
  ca?: string;
  log: AgentLog;
  /** Ends the agent; containers go on. */
  signal: AbortSignal;
  clock?: Clock;
  random?: () => number;
  /** Another engine than Docker's. */
  runtime?: Runtime;
  /** Another machine than this one. */
  machine?: Machine;
  /** Another way to the server than a WebSocket over the network. */
  dial?: (url: URL, headers: Record<string, string>) => ControlSocket;
  /** Runs may reach private networks. */
  isLanAllowed?: boolean;
  /** Another way to keep runs apart than a network and firewall rules of our own. */
  isolation?: Isolation;
  /** Where the agent keeps what it must remember over its restart; absent: it forgets. */
  stateDirectory?: string;
  /** Registries on private addresses that jobs may name: hosts, `host:port` or ranges. */
  allowedRegistries?: readonly string[];
  /** How long a GPU may take to get clean after a run, and how often a dirty one is looked at again. */
  gpuTimes?: GpuTimes;
  /** Most bytes that images pulled for jobs may take; absent: a fifth of the engine's disk. */
  imageCacheBytes?: number;
  /** How long a teardown may take, its grace apart, before it counts as a fault of the node. */
  stuckAfterMs?: number;
  /** Between two looks at what the machine has. */
  inventoryEveryMs?: number;
  /** Between two measurements of what runs write to disk. */
  storageEveryMs?: number;
  /** The agent serves public ports itself, and clients reach it by this host; absent: the gateway does. */
  publicHost?: string;
  /** Without the server for so long the agent stops its runs; absent: it keeps them. */
  stopWhenCutOffMs?: number;
  onConnected?: (welcome: Welcome, serverUrl: string) => void;
}

const defaultInventoryEveryMs = 60_000;

export async function runAgent(options: AgentOptions): Promise<void> {
  const { nodeKey, log, signal, clock = systemClock, random = Math.random } = options;
  const runtime = options.runtime ?? new DockerRuntime(options.engineSocket);
  const machine = options.machine ?? thisMachine(options.stateDirectory);
  const servers = new Servers(options.serverUrls ?? [nodeKey.url], random);
  let nodeUuid = nodeKey.node_uuid ?? null;
  let inventory: Inventory | null = null;
  /** When the server was heard last on a connection that it welcomed. */
  let heardAtMs = clock.nowMs();
  /** As the server asked last; null: it wants none. */
  let sampleMs: number | null = null;
  /** Folder of the engine's data, once it was asked. */
  let dataRoot: string | null = null;
  const serverClock = new ServerClock(clock);
  const signHeaders = (method: string, path: string) =>
    options.signHeaders(method, path, serverClock.nowMs());
  const onServerTime = (serverTimeMs: number) => log.warn({}, skewSentence(serverClock.learn(serverTimeMs)));
  const isolation =
    options.isolation ??
    new NodeIsolation({
      runtime,
      clock,
      log,
      isLanAllowed: options.isLanAllowed ?? false,
      onChange: () => tellInventory(inventory),
    });

  const engine = new EngineHealth({
    clock,
    ...(machine.uptimeMs === undefined ? {} : { uptimeMs: machine.uptimeMs }),
    onChange() {
      tellInventory(inventory);
      if (engine.note === null) void lookAgain();
    },
  });

  function requireInventory(): Inventory {
    if (inventory === null) throw new Error('The node has not been looked at yet.');
    return inventory;
  }

  /** Keeps `read` with what is true of engine and isolation now, and tells it when it is news. */
  function tellInventory(read: Inventory | null): void {
    if (read === null) return;
    const before = inventory;
    const { isolation: word, note } = isolation.state;
    inventory = { ...read, isolation: word, isolation_note: note, engine_note: engine.note };
    if (before !== null && isNews(before, inventory)) client.send({ type: 'inventory', inventory });
  }

  const { images, gpuGuard, memory } = openStores({
    ...options,
    machine,
    runtime,
    clock,
    storageBytes: () => inventory?.storage_bytes ?? 0,
  });
  const readNode = async () => ({
    ...(await readInventory(runtime, {
      gpus: () => readGuardedGpus(machine, gpuGuard),
      storage(folder) {
        dataRoot = folder;
        return machine.readStorage(folder);
      },
      parts: machine.readParts,
    })),
    ...streams.ingress,
  });

  const loop: AgentLoop = new AgentLoop({
    runtime,
    clock,
    log,
    images,
    gpuGuard,
    engine,
    memory,
    refreshInventory: async () => tellInventory(await readNode()),
    send: (message) => client.send(message),
    sendLog: (chunk) => client.sendLog(chunk),
    inventory: requireInventory,
    ...(options.stuckAfterMs === undefined ? {} : { stuckAfterMs: options.stuckAfterMs }),
    onPass: () => streams.look(),
  });

  const streams: AgentStreams = new AgentStreams({
    runtime,
    door: new DockerDoor(options.engineSocket),
    clock,
    log,
    servers,
    signHeaders,
    onServerTime,
    ...(options.ca === undefined ? {} : { ca: options.ca }),
    publicHost: options.publicHost ?? null,
    livingRuns: () => loop.livingRuns(),
    reportPort: (reading) => loop.reportPort(reading),
    send: (message) => client.send(message),
  });

  async function hello(): Promise<Hello> {
    await isolation.ready;
    if (inventory === null) tellInventory(await readNode());
    const containers = nodeUuid === null ? [] : await loop.observe(nodeUuid);
    return {
      type: 'hello',
      protocol: protocolVersion,
      agent_version: options.agentVersion,
      session_uuid: options.sessionUuid,
      inventory: requireInventory(),
      containers,
      server_count: servers.all.length,
      ...memory.hello(),
    };
  }

  /** A node that did not know its name has said hello without its containers: it says it again. */
  function welcome(message: Welcome): boolean {
    const knewItself = nodeUuid === message.node_uuid;
    nodeUuid = message.node_uuid;
    sampleMs = message.sample_ms ?? null;
    if (!knewItself) return false;
    const identity: NodeIdentity = { clusterUuid: message.cluster_uuid, nodeUuid: message.node_uuid };
    log.info({ ...identity, server: servers.current }, 'connected to the control plane');
    memory.welcome(message.cluster_uuid, message.cluster_generation);
    void loop.connect(identity, { awaitsWord: message.awaits_word ?? false });
    options.onConnected?.(message, servers.current);
    return true;
  }

  const client = new ControlPlaneClient({
    servers,
    signHeaders,
    ...(options.ca === undefined ? {} : { ca: options.ca }),
    ...(options.dial === undefined ? {} : { dial: options.dial }),
    onServerTime,
    clock,
    random,
    log,
    hello,
    onHeard: () => {
      heardAtMs = clock.nowMs();
    },
    onWelcome: welcome,
    onMessage: (message) => {
      streams.receive(message);
      loop.receive(message);
    },
    onDisconnect: () => loop.disconnect(),
  });

  async function lookAgain(): Promise<void> {
    if (signal.aborted || inventory === null) return;
    try {
      tellInventory(await readNode());
    } catch (error) {
      log.warn({ reason: String(error) }, 'the node could not be looked at');
    }
  }

  async function refreshInventory(): Promise<void> {
    while (!signal.aborted) {
      await sleep(clock, options.inventoryEveryMs ?? defaultInventoryEveryMs, signal);
      await lookAgain();
    }
  }

  async function sample({ load: readers }: Machine): Promise<void> {
    if (readers === undefined) return;
    const sampler = new HardwareSampler({
      readers,
      readStorage: () => machine.readStorage(dataRoot),
      readUsage: runtime.readUsage?.bind(runtime),
      clock,
      hasGpus: () => (inventory?.gpus.length ?? 0) > 0,
      livingRuns: () => loop.livingRuns(),
    });
    const everyMs = () => sampleMs;
    await sendSamples({ sampler, clock, log, everyMs, send: (message) => client.send(message) }, signal);
  }

  /** Also what an earlier life of the agent left, before the server says anything. */
  async function watchConnection(limitMs: number): Promise<void> {
    const { clusterUuid } = memory;
    if (clusterUuid !== null && nodeUuid !== null) loop.identify({ clusterUuid, nodeUuid });
    const onCutOff = () => loop.cutOff();
    await watchCutOff({ clock, limitMs, heardAtMs: () => heardAtMs, onCutOff }, signal);
  }

  try {
    await Promise.all([
      isolation.run(signal),
      client.run(signal),
      refreshInventory(),
      gpuGuard.watch(() => void lookAgain(), signal),
      images.watch(signal),
      sample(machine),
      options.stopWhenCutOffMs === undefined ? null : watchConnection(options.stopWhenCutOffMs),
      watchStorage(
        {
          runtime,
          clock,
          log,
          inventory: requireInventory,
          livingRuns: () => loop.livingRuns(),
          onOveruse: (record, error) => loop.stopForOveruse(record, error),
          ...(options.storageEveryMs === undefined ? {} : { everyMs: options.storageEveryMs }),
        },
        signal,
      ),
    ]);
  } finally {
    loop.stop();
    streams.close();
  }
}
