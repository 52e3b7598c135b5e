// The bare Docker side of a comparison: containers like Flotilla's own, made by hand, and the engine's events.
import Docker from 'dockerode';

export const image = { image: 'test/busybox', tag: '1' };
const jobLabel = 'flotilla.job';

export function openEngine(): Docker {
  return new Docker();
}

/** The engine's socket, which the test harness names. */
export function engineSocket(): string {
  const host = process.env.DOCKER_HOST ?? '';
  if (!host.startsWith('unix://'))
    throw new Error('DOCKER_HOST names no unix socket; run under scripts/with-docker.sh.');
  return host.slice('unix://'.length);
}

/** Makes a container just like the given one of Flotilla, with another command and without its labels. */
export async function likenessOf(
  docker: Docker,
  containerId: string,
): Promise<(command: string[]) => object> {
  const { Config, HostConfig } = await docker.getContainer(containerId).inspect();
  const { Image, Env, Entrypoint } = Config;
  return (command) => ({ Image, Env, Entrypoint, Cmd: command, HostConfig });
}

export async function startContainer(docker: Docker, body: object): Promise<Docker.Container> {
  const container = await docker.createContainer(body as Docker.ContainerCreateOptions);
  await container.start();
  return container;
}

export interface Deaths {
  /** Milliseconds of this process at which the container died, as the engine's events tell. */
  diedAt(containerId: string): Promise<number>;
  close(): void;
}

export async function watchDeaths(docker: Docker): Promise<Deaths> {
  const stream = await docker.getEvents({ filters: { type: ['container'], event: ['die'] } });
  const died = new Map<string, number>();
  const waiting = new Map<string, (atMs: number) => void>();
  let rest = '';
  stream.on('data', (chunk: Buffer) => {
    const atMs = performance.now();
    const lines = (rest + chunk.toString()).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      const { id } = JSON.parse(line) as { id: string };
      died.set(id, atMs);
      waiting.get(id)?.(atMs);
    }
  });
  return {
    diedAt: async (id) => died.get(id) ?? new Promise((resolve) => waiting.set(id, resolve)),
    close: () => (stream as unknown as { destroy(): void }).destroy(),
  };
}

/** The container of a job that runs. */
export async function containerOfJob(docker: Docker, jobUuid: string): Promise<string> {
  const [found] = await docker.listContainers({ filters: { label: [`${jobLabel}=${jobUuid}`] } });
  if (found === undefined) throw new Error(`The job ${jobUuid} runs in no container.`);
  return found.Id;
}

/** Resolves when Flotilla has removed all its containers. */
export async function untilAllRemoved(docker: Docker): Promise<void> {
  for (;;) {
    const left = await docker.listContainers({ all: true, filters: { label: [jobLabel] } });
    if (left.length === 0) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
