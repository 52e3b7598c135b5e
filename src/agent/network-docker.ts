// The Docker network that runs are put on: made where it is absent, found where it is not, by any number of agents.
import { type DockerClient, EngineRefusal } from './docker-client.ts';
import type { EngineInfo, EngineVersion } from './docker-shapes.ts';
import { type NetworkOrder, RuntimeError } from './runtime.ts';

interface NetworkInspect {
  Id: string;
  Driver: string;
  Options?: Record<string, string> | null;
}

const bridgeOption = 'com.docker.network.bridge.name';
/** Making a network takes 0.3 s; an engine under load has been seen to need seconds. */
const createTimeoutMs = 30_000;

/** The name of its bridge. Throws a sentence where the engine has no network that can be guarded. */
export async function ensureNetwork(client: DockerClient, order: NetworkOrder): Promise<string> {
  const found = (await inspectNetwork(client, order.name)) ?? (await createNetwork(client, order));
  if (found.Driver !== 'bridge') {
    throw new RuntimeError(
      'network_unfit',
      `The Docker network "${order.name}" has the driver ${found.Driver}; remove it, and the agent makes its own.`,
    );
  }
  const bridge = found.Options?.[bridgeOption] ?? `br-${found.Id.slice(0, 12)}`;
  if (bridge === order.bridge) return bridge;
  throw new RuntimeError(
    'network_unfit',
    `The Docker network "${order.name}" has the bridge ${bridge} instead of ${order.bridge}; remove it, and the agent makes its own.`,
  );
}

/** Throws a sentence where containers reach the host by ways that no rule of ours sees. */
export async function refuseUnguarded(client: DockerClient): Promise<void> {
  const [version, info] = (await Promise.all([
    client.json({ path: '/version' }),
    client.json({ path: '/info' }),
  ])) as [EngineVersion, EngineInfo];
  if (version.Components?.some(({ Name }) => /podman/i.test(Name))) {
    throw new RuntimeError('network_unfit', "Podman's networks are not guarded; use the Docker Engine.");
  }
  if (info.SecurityOptions?.some((option) => option.includes('rootless'))) {
    throw new RuntimeError(
      'network_unfit',
      "A rootless engine's containers reach the host's services through its own network program; use a Docker Engine that runs as root.",
    );
  }
}

async function inspectNetwork(client: DockerClient, name: string): Promise<NetworkInspect | null> {
  try {
    return (await client.json({ path: `/networks/${name}` })) as NetworkInspect;
  } catch (error) {
    if (error instanceof EngineRefusal && error.statusCode === 404) return null;
    throw error;
  }
}

/** Two agents may try at once: the engine gives one bridge name only once, so one of them finds the other's. */
async function createNetwork(client: DockerClient, { name, bridge }: NetworkOrder): Promise<NetworkInspect> {
  try {
    await client.json({
      path: '/networks/create',
      method: 'POST',
      body: {
        Name: name,
        CheckDuplicate: true,
        Driver: 'bridge',
        EnableIPv6: false,
        Options: {
          [bridgeOption]: bridge,
          'com.docker.network.bridge.enable_icc': 'false',
          'com.docker.network.bridge.enable_ip_masquerade': 'true',
        },
        Labels: { 'flotilla.network': name },
      },
      timeoutMs: createTimeoutMs,
    });
  } catch (error) {
    if (!(error instanceof EngineRefusal)) throw error;
    const other = await inspectNetwork(client, name);
    if (other !== null) return other;
    throw new RuntimeError('network_unfit', `The Docker network "${name}" cannot be made.`, {
      engineText: error.message,
      cause: error,
    });
  }
  const created = await inspectNetwork(client, name);
  if (created !== null) return created;
  throw new RuntimeError('network_unfit', `The Docker network "${name}" was removed while it was made.`, {
    isRetryable: true,
  });
}
