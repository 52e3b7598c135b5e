// The Docker Engine behind the runtime port.
import { fullReference } from '../domain/image-reference.ts';
import { DockerClient, EngineRefusal } from './docker-client.ts';
import { pullError, registrySilent, removeError, startError } from './docker-errors.ts';
import { readContainerEvent, SeenExits } from './docker-exits.ts';
import { LogFrames, toEngineTime } from './docker-logs.ts';
import { PullMeter } from './docker-pull.ts';
import { canHoldSize, isQuotaRefusal } from './docker-quota.ts';
import { DockerRemains } from './docker-remains.ts';
import {
  type ContainerInspect,
  containerAddress,
  containerState,
  containerSummary,
  createBody,
  type EngineInfo,
  type EngineVersion,
  engineDescription,
  type ImageInspect,
  imageState,
  type ListedContainer,
} from './docker-shapes.ts';
import { fillVolume, listVolumes, removeVolumes } from './docker-volumes.ts';
import type { UsageReading } from './machine-load.ts';
import { ensureNetwork, refuseUnguarded } from './network-docker.ts';
import {
  type ContainerAddress,
  type ContainerSpec,
  type ContainerState,
  type ContainerSummary,
  type EngineDescription,
  type ImageState,
  type LogEntry,
  type LogRequest,
  labelNames,
  type NetworkOrder,
  type PullOptions,
  type PullOrder,
  type Runtime,
  RuntimeError,
  type VolumeOptions,
  type VolumeOrder,
  type VolumeSummary,
  type WatchOptions,
} from './runtime.ts';
import { usedBytes } from './storage-usage.ts';

/** Start does the network and the mounts; 8 at once have been seen to take two seconds. */
const startTimeoutMs = 60_000;
const signalTimeoutMs = 5_000;
/** An engine that takes longer goes on by itself; the next try finds it done, or under way. */
const removeTimeoutMs = 10_000;
/** A registry that sends nothing for this long is given up; the engine is silent while it checks a large layer. */
const pullStallMs = 180_000;
const logStallMs = 30_000;
/** The engine walks the whole layer. */
const sizeTimeoutMs = 60_000;

export class DockerRuntime implements Runtime {
  readonly #client: DockerClient;
  readonly #remains: DockerRemains;
  readonly #exits = new SeenExits();
  #network: NetworkOrder | null = null;
  /** Null until the engine was asked. */
  #hasQuota: boolean | null = null;

  /** `socketPath` null: DOCKER_HOST, else the usual socket. */
  constructor(socketPath: string | null) {
    this.#client = new DockerClient(socketPath);
    this.#remains = new DockerRemains(this.#client);
  }

  async describe(): Promise<EngineDescription> {
    const [version, info] = await Promise.all([
      this.#client.json({ path: '/version' }),
      this.#client.json({ path: '/info' }),
    ]);
    return engineDescription(version as EngineVersion, info as EngineInfo);
  }

  async listContainers(nodeUuid: string): Promise<ContainerSummary[]> {
    const filters = JSON.stringify({ label: [`${labelNames.node}=${nodeUuid}`] });
    const listed = await this.#client.json({ path: '/containers/json', query: { all: '1', filters } });
    return (listed as ListedContainer[]).flatMap((container) => containerSummary(container) ?? []);
  }

  async watchContainers(nodeUuid: string, { onReady, onChange, signal }: WatchOptions): Promise<void> {
    const filters = JSON.stringify({
      type: ['container'],
      event: ['die', 'oom'],
      label: [`${labelNames.node}=${nodeUuid}`],
    });
    const stream = await this.#client.stream({ path: '/events', query: { filters }, signal });
    onReady();
    let rest = '';
    for await (const chunk of stream) {
      const lines = (rest + String(chunk)).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) {
        const event = readContainerEvent(line);
        if (event === null) continue;
        this.#exits.note(event);
        onChange(event.runUuid);
      }
    }
  }

  async inspectContainer(containerId: string): Promise<ContainerState | null> {
    const found = (await this.#orNull({
      path: `/containers/${containerId}/json`,
    })) as ContainerInspect | null;
    await this.#remains.learn(containerId, found?.State.Pid);
    return found === null ? null : this.#exits.correct(containerState(found));
  }

  async containerAddress(containerId: string): Promise<ContainerAddress | null> {
    const found = await this.#orNull({ path: `/containers/${containerId}/json` });
    return found === null ? null : containerAddress(found as ContainerInspect);
  }

  async inspectImage(image: string, asked = image): Promise<ImageState | null> {
    const found = await this.#orNull({ path: `/images/${image}/json` });
    return found === null ? null : imageState(found as ImageInspect, asked);
  }

  async removeImage(nameOrId: string): Promise<'removed' | 'in_use'> {
    const path = `/images/${nameOrId}`;
    const found = (await this.#orNull({ path: `${path}/json` })) as ImageInspect | null;
    if (found === null) return 'removed';
    // Removal by id would take a single name with it, and somebody gave it that name.
    if (nameOrId === found.Id && (found.RepoTags ?? []).length > 0) return 'removed';
    try {
      await this.#unless([404], { path, method: 'DELETE', timeoutMs: removeTimeoutMs });
      return 'removed';
    } catch (error) {
      if (error instanceof EngineRefusal && error.statusCode === 409) return 'in_use';
      throw error;
    }
  }

  async pullImage({ image, credentials }: PullOrder, { onProgress, signal }: PullOptions): Promise<void> {
    const stall = new AbortController();
    const stalled = () => stall.abort(registrySilent(image));
    let timer = setTimeout(stalled, pullStallMs);
    const meter = new PullMeter();
    try {
      const stream = await this.#client.stream({
        path: '/images/create',
        method: 'POST',
        query: { fromImage: fullReference(image) },
        ...(credentials === null ? {} : { authconfig: authconfig(credentials) }),
        timeoutMs: pullStallMs,
        signal: AbortSignal.any([stall.signal, signal]),
      });
      for await (const chunk of stream) {
        clearTimeout(timer);
        timer = setTimeout(stalled, pullStallMs);
        meter.push(chunk as Buffer);
        onProgress(meter.progress());
      }
      meter.end();
    } catch (error) {
      signal.throwIfAborted();
      stall.signal.throwIfAborted();
      if (error instanceof EngineRefusal) throw pullError(image, error.message);
      throw error;
    } finally {
      clearTimeout(timer);
    }
    if (meter.error !== null) throw pullError(image, meter.error);
  }

  fillVolume(order: VolumeOrder, options: VolumeOptions): Promise<void> {
    return fillVolume(this.#client, order, options);
  }

  listVolumes(nodeUuid: string): Promise<VolumeSummary[]> {
    return listVolumes(this.#client, nodeUuid);
  }

  removeVolumes(runUuid: string): Promise<void> {
    return removeVolumes(this.#client, runUuid);
  }

  async createContainer(spec: ContainerSpec): Promise<string> {
    try {
      const created = await this.#client.json({
        path: '/containers/create',
        method: 'POST',
        query: { name: spec.name },
        body: createBody(spec, {
          networkName: this.#network?.name ?? null,
          hasQuota: await this.#canHoldSize(),
        }),
        timeoutMs: startTimeoutMs,
      });
      return (created as { Id: string }).Id;
    } catch (error) {
      if (!(error instanceof EngineRefusal)) throw error;
      if (this.#hasQuota && isQuotaRefusal(error.message)) {
        this.#hasQuota = false;
        return this.createContainer(spec);
      }
      if (error.statusCode !== 409) throw startError(error.message);
      throw new RuntimeError('name_taken', `A container named ${spec.name} exists already.`, {
        isRetryable: true,
      });
    }
  }

  async startContainer(containerId: string): Promise<void> {
    const call = {
      path: `/containers/${containerId}/start`,
      method: 'POST',
      timeoutMs: startTimeoutMs,
    } as const;
    try {
      await this.#client.json(call).catch(async (error: unknown) => {
        if (!(error instanceof EngineRefusal && (await this.#renewNetwork(error)))) throw error;
        await this.#client.json(call);
      });
    } catch (error) {
      if (error instanceof EngineRefusal) throw startError(error.message);
      throw error;
    }
  }

  async signalContainer(containerId: string, signalName: string): Promise<void> {
    if (this.#remains.signal(containerId, signalName)) return;
    // 404: removed, 409: not running. Both mean that nothing is left to signal.
    await this.#unless([404, 409], {
      path: `/containers/${containerId}/kill`,
      method: 'POST',
      query: { signal: signalName },
      timeoutMs: signalTimeoutMs,
    });
  }

  async removeContainer(containerId: string): Promise<void> {
    const call = { path: `/containers/${containerId}`, method: 'DELETE' } as const;
    const query = { force: '1', v: '1' };
    await this.#unless([404], { ...call, query, timeoutMs: removeTimeoutMs }).catch((error: unknown) => {
      throw error instanceof EngineRefusal ? removeError(error.message) : error;
    });
  }

  readUsage(containerId: string): Promise<UsageReading | null> {
    return this.#remains.readUsage(containerId);
  }

  killProcesses(containerId: string): Promise<number | null> {
    return this.#remains.killProcesses(containerId);
  }

  leaveNetwork(containerId: string): Promise<boolean> {
    return this.#remains.leaveNetwork(this.#network?.name ?? null, containerId);
  }

  async *readLogs({
    containerId,
    since,
    isFollowing,
    signal,
  }: LogRequest): AsyncGenerator<readonly LogEntry[]> {
    const query = {
      stdout: '1',
      stderr: '1',
      timestamps: '1',
      ...(isFollowing ? { follow: '1' } : {}),
      ...(since === null ? {} : { since: toEngineTime(since) }),
    };
    const stream = await this.#logStream({ containerId, query, signal });
    const chunks = stream[Symbol.asyncIterator]();
    const frames = new LogFrames();
    try {
      while (true) {
        const next = await (isFollowing ? chunks.next() : withinStall(chunks.next()));
        if (next.done) return;
        const entries = frames.push(next.value as Buffer);
        if (entries.length > 0) yield entries;
      }
    } finally {
      stream.destroy();
    }
  }

  async readLastLines(containerId: string, lineCount: number): Promise<string> {
    const query = { stdout: '1', stderr: '1', timestamps: '1', tail: String(lineCount) };
    const stream = await this.#logStream({ containerId, query, signal: AbortSignal.timeout(logStallMs) });
    const frames = new LogFrames();
    const entries: LogEntry[] = [];
    for await (const chunk of stream) entries.push(...frames.push(chunk as Buffer));
    return Buffer.concat(entries.map((entry) => entry.bytes)).toString('utf8');
  }

  async joinNetwork(order: NetworkOrder): Promise<string> {
    if (this.#network === null) await refuseUnguarded(this.#client);
    const bridge = await ensureNetwork(this.#client, order);
    this.#network = order;
    return bridge;
  }

  async watchNetworks({ onChange, signal }: { onChange: () => void; signal: AbortSignal }): Promise<void> {
    const filters = JSON.stringify({
      type: ['network', 'daemon'],
      event: ['create', 'destroy', 'remove', 'reload'],
    });
    const stream = await this.#client.stream({ path: '/events', query: { filters }, signal });
    for await (const _chunk of stream) onChange();
  }

  async measureStorage(containerId: string): Promise<number | null> {
    const path = `/containers/${containerId}/json`;
    const found = (await this.#orNull({ path })) as ContainerInspect | null;
    if (found === null) return null;
    const bytes = await usedBytes(found);
    if (bytes !== null) return bytes;
    const sized = await this.#orNull({ path, query: { size: '1' }, timeoutMs: sizeTimeoutMs });
    return (sized as ContainerInspect | null)?.SizeRw ?? null;
  }

  async #canHoldSize(): Promise<boolean> {
    this.#hasQuota ??= canHoldSize((await this.#client.json({ path: '/info' })) as EngineInfo);
    return this.#hasQuota;
  }

  /** The network may have been pruned since it was made: once more, then. */
  async #renewNetwork(refusal: EngineRefusal): Promise<boolean> {
    if (this.#network === null || !refusal.message.includes(`network ${this.#network.name} not found`))
      return false;
    await ensureNetwork(this.#client, this.#network);
    return true;
  }

  async #logStream(options: { containerId: string; query: Record<string, string>; signal: AbortSignal }) {
    const { containerId, query, signal } = options;
    try {
      return await this.#client.stream({ path: `/containers/${containerId}/logs`, query, signal });
    } catch (error) {
      if (!(error instanceof EngineRefusal)) throw error;
      const isGone = error.statusCode === 404;
      throw new RuntimeError(
        isGone ? 'container_disappeared' : 'log_unreadable',
        "The container's log cannot be read.",
        { engineText: error.message, isRetryable: !isGone },
      );
    }
  }

  async #orNull(call: Parameters<DockerClient['json']>[0]): Promise<unknown> {
    try {
      return await this.#client.json(call);
    } catch (error) {
      if (error instanceof EngineRefusal && error.statusCode === 404) return null;
      throw error;
    }
  }

  async #unless(statusCodes: readonly number[], call: Parameters<DockerClient['json']>[0]): Promise<void> {
    try {
      await this.#client.json(call);
    } catch (error) {
      if (!(error instanceof EngineRefusal && statusCodes.includes(error.statusCode))) throw error;
    }
  }
}

function authconfig({ user, secret, host }: { user: string; secret: string; host: string }) {
  return { username: user, password: secret, serveraddress: host };
}

/** A read that is not followed must not hang: the engine has all bytes at hand. */
function withinStall<T>(promise: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(
      () =>
        reject(
          new RuntimeError('engine_unreachable', 'The engine stopped sending the log.', {
            isRetryable: true,
          }),
        ),
      logStallMs,
    );
    promise.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
