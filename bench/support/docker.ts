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

export interface ContainerEnds {
  /** Milliseconds of this process at which the container, or that of the job, died, as the engine's events tell. */
  diedAt(containerIdOrJobUuid: string): Promise<number>;
  /** As before, and removed. */
  removedAt(containerIdOrJobUuid: string): Promise<number>;
  close(): void;
}

export async function watchEnds(docker: Docker): Promise<ContainerEnds> {
  const stream = await docker.getEvents({ filters: { type: ['container'], event: ['die', 'destroy'] } });
  const seen = new Map<string, number>();
  const waiting = new Map<string, (atMs: number) => void>();
  let rest = '';
  stream.on('data', (chunk: Buffer) => {
    const atMs = performance.now();
    const lines = (rest + chunk.toString()).split('\n');
    rest = lines.pop() ?? '';
    for (const key of lines.flatMap(keysOf)) {
      seen.set(key, atMs);
      waiting.get(key)?.(atMs);
    }
  });
  const at = async (key: string) =>
    seen.get(key) ?? new Promise<number>((resolve) => waiting.set(key, resolve));
  return {
    diedAt: (name) => at(`die ${name}`),
    removedAt: (name) => at(`destroy ${name}`),
    close: () => (stream as unknown as { destroy(): void }).destroy(),
  };
}

/** By the container's id and by its job. */
function keysOf(line: string): string[] {
  const { id, Action, Actor } = JSON.parse(line) as {
    id: string;
    Action: string;
    Actor: { Attributes: Record<string, string> };
  };
  return [id, Actor.Attributes[jobLabel]].flatMap((name) =>
    name === undefined ? [] : [`${Action} ${name}`],
  );
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
