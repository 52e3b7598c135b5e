// What there is of a container beside the engine: its processes, and its place on the node's network.
import { existsSync } from 'node:fs';
import { hostname } from 'node:os';
import { Cgroups } from './cgroup.ts';
import { readCgroupUsage, readNetworkUsage } from './cgroup-usage.ts';
import { type DockerClient, EngineRefusal } from './docker-client.ts';
import type { EngineInfo } from './docker-shapes.ts';
import { FirstProcesses } from './first-processes.ts';
import type { UsageReading } from './machine-load.ts';

const askTimeoutMs = 2_000;
/** Where containers are that no network of ours was made for. */
const defaultNetwork = 'bridge';

const unseenNetwork = { networkRxBytes: null, networkTxBytes: null };

interface NetworkInspect {
  Containers?: Record<string, { Name: string }> | null;
}

export class DockerRemains {
  readonly #client: DockerClient;
  readonly #cgroups = new Cgroups();
  readonly #firstProcesses = new FirstProcesses();
  /** The engine's containers are processes of this machine; null until it was found out. */
  #isEngineHere: boolean | null = null;

  constructor(client: DockerClient) {
    this.#client = client;
  }

  /** The container's first process: it is what a signal goes to, and shows where the engine puts cgroups. */
  async learn(containerId: string, pid = 0): Promise<void> {
    this.#firstProcesses.note(containerId, pid);
    if (pid > 0) await this.#cgroups.learn(containerId, pid);
  }

  /** False when it is the engine's turn to signal it. */
  signal(containerId: string, signalName: string): boolean {
    return this.#firstProcesses.signal(containerId, signalName);
  }

  /** What its processes used so far; null when they could not be seen. */
  async readUsage(containerId: string): Promise<UsageReading | null> {
    if (!this.#cgroups.hasSeenOne) return null;
    const pid = this.#firstProcesses.pidOf(containerId);
    const [usage, network] = await Promise.all([
      this.#cgroups.foldersOf(containerId).then(readCgroupUsage),
      pid === null ? unseenNetwork : readNetworkUsage(pid),
    ]);
    return usage === null ? null : { ...usage, ...network };
  }

  /** How many processes live after they were killed; null when they could not be seen. */
  async killProcesses(containerId: string): Promise<number | null> {
    const leftCount = await this.#cgroups.kill(containerId);
    if (leftCount > 0 || this.#cgroups.hasSeenOne || (await this.#isHere())) return leftCount;
    return null;
  }

  /** An engine that was killed keeps the places of containers that it has no more, until it is told by name. */
  async leaveNetwork(networkName: string | null, containerId: string): Promise<boolean> {
    const path = `/networks/${networkName ?? defaultNetwork}`;
    const name = await this.#placeOn(path, containerId);
    if (name === null) return true;
    const body = { Container: name, Force: true };
    try {
      await this.#client.json({ path: `${path}/disconnect`, method: 'POST', body });
    } catch (error) {
      if (!(error instanceof EngineRefusal)) throw error;
    }
    return (await this.#placeOn(path, containerId)) === null;
  }

  /** The name under which the network knows the container; null: it does not. */
  async #placeOn(path: string, containerId: string): Promise<string | null> {
    try {
      const { Containers: places } = (await this.#client.json({ path })) as NetworkInspect;
      return places?.[containerId]?.Name ?? null;
    } catch (error) {
      if (error instanceof EngineRefusal && error.statusCode === 404) return null;
      throw error;
    }
  }

  /** By name and folder: an engine behind a forwarded socket has its own of both. */
  async #isHere(): Promise<boolean> {
    if (this.#isEngineHere !== null) return this.#isEngineHere;
    const info = (await this.#client
      .json({ path: '/info', timeoutMs: askTimeoutMs })
      .catch(() => null)) as EngineInfo | null;
    if (info === null) return false;
    const { Name, DockerRootDir } = info;
    this.#isEngineHere = Name === hostname() && DockerRootDir !== undefined && existsSync(DockerRootDir);
    return this.#isEngineHere;
  }
}
