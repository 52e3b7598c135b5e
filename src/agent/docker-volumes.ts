// Volumes in the Docker Engine: made, filled with the file tree of an image, found by label, removed.
//
// No program of the image runs for it, so images without a shell will do: one container of the image, never started, is
// exported, and the stream is unpacked by the engine into a second one that has the volume mounted.
import { Readable } from 'node:stream';
import { type DockerClient, EngineRefusal } from './docker-client.ts';
import { volumeError } from './docker-errors.ts';
import { labelNames, type VolumeOptions, type VolumeOrder, type VolumeSummary } from './runtime.ts';
import { withoutScaffold } from './volumes-tar.ts';

/** Where the volume is mounted while it is filled. */
const fillPath = '/.flotilla-volume';
const removeTimeoutMs = 30_000;
/** A disk that takes nothing for this long is given up. */
const stallMs = 120_000;
/** A copy ends by its stall limit; this only bounds one that crawls. */
const copyLimitMs = 24 * 60 * 60_000;

interface ListedVolume {
  Name: string;
  Labels: Record<string, string> | null;
}

interface ListedHelper {
  Id: string;
  Labels: Record<string, string>;
}

/** Made anew: what an interrupted fill left of it is removed first. */
export async function fillVolume(
  client: DockerClient,
  order: VolumeOrder,
  options: VolumeOptions,
): Promise<void> {
  const helpers = [`${order.name}-source`, `${order.name}-target`] as const;
  try {
    for (const name of helpers) await removeContainer(client, name);
    await removeVolume(client, order.name);
    await client.json({
      path: '/volumes/create',
      method: 'POST',
      body: { Name: order.name, Labels: order.labels },
    });
    const [source, target] = helpers;
    await createHelper(client, order, { name: source, mounts: [] });
    const mount = {
      Type: 'volume',
      Source: order.name,
      Target: fillPath,
      VolumeOptions: { NoCopy: true },
    };
    await createHelper(client, order, { name: target, mounts: [mount] });
    options.signal.throwIfAborted();
    await copyTree(client, { source, target, ...options });
  } catch (error) {
    options.signal.throwIfAborted();
    throw error instanceof EngineRefusal ? volumeError(error.message) : error;
  } finally {
    // What cannot be removed now is found later.
    for (const name of helpers) await removeContainer(client, name).catch(() => {});
  }
}

async function createHelper(
  client: DockerClient,
  { imageId, labels }: VolumeOrder,
  { name, mounts }: { name: string; mounts: object[] },
): Promise<void> {
  const { [labelNames.run]: runUuid = '', ...others } = labels;
  await client.json({
    path: '/containers/create',
    method: 'POST',
    query: { name },
    body: {
      Image: imageId,
      // Never run; an image without a program of its own cannot be created without.
      Cmd: ['/'],
      Labels: { ...others, [labelNames.volumeOf]: runUuid },
      NetworkDisabled: true,
      HostConfig: { NetworkMode: 'none', Mounts: mounts },
    },
  });
}

async function copyTree(
  client: DockerClient,
  { source, target, onProgress, signal }: VolumeOptions & { source: string; target: string },
): Promise<void> {
  const created = (await client.json({ path: `/containers/${source}/json` })) as { Created: string };
  const failed = new AbortController();
  const either = AbortSignal.any([signal, failed.signal]);
  const tree = await client.stream({ path: `/containers/${source}/export`, signal: either });
  const stalled = () => failed.abort(volumeError('the disk took nothing for two minutes'));
  let timer = setTimeout(stalled, stallMs);
  let copiedBytes = 0;
  async function* counted(): AsyncGenerator<Buffer> {
    const sinceS = Math.floor(Date.parse(created.Created) / 1000);
    try {
      for await (const chunk of withoutScaffold(tree, sinceS)) {
        clearTimeout(timer);
        timer = setTimeout(stalled, stallMs);
        copiedBytes += chunk.length;
        onProgress(copiedBytes);
        yield chunk;
      }
    } catch (error) {
      // The engine would wait for the rest of a stream that broke.
      failed.abort(error);
    }
  }
  try {
    await client.json({
      path: `/containers/${target}/archive`,
      method: 'PUT',
      query: { path: fillPath },
      content: Readable.from(counted(), { objectMode: false }),
      timeoutMs: copyLimitMs,
      signal: either,
    });
  } finally {
    clearTimeout(timer);
    tree.destroy();
  }
}

/** Runs of this node that have volumes, or helpers that fill some. */
export async function listVolumes(client: DockerClient, nodeUuid: string): Promise<VolumeSummary[]> {
  const labels = [`${labelNames.node}=${nodeUuid}`, labelNames.volumeOf];
  const [volumes, helpers] = await Promise.all([
    volumesNamed(client, '^flotilla-'),
    client.json({
      path: '/containers/json',
      query: { all: '1', filters: JSON.stringify({ label: labels }) },
    }),
  ]);
  const found = [
    ...volumes.map((volume) => summaryOf(volume, nodeUuid)),
    ...(helpers as ListedHelper[]).map(({ Labels }) => labelled(Labels[labelNames.volumeOf], Labels)),
  ];
  return [...new Map(found.flatMap((one) => (one === null ? [] : [[one.runUuid, one]]))).values()];
}

const namePattern = /^flotilla-([0-9a-f-]{36})-\d+$/;

/** An engine that is killed while it makes a volume keeps the volume without its labels: there its name tells the run. */
function summaryOf({ Name, Labels }: ListedVolume, nodeUuid: string): VolumeSummary | null {
  const nodeLabel = Labels?.[labelNames.node];
  if (nodeLabel !== undefined)
    return nodeLabel === nodeUuid ? labelled(Labels?.[labelNames.run], Labels) : null;
  const runUuid = namePattern.exec(Name)?.[1];
  return runUuid === undefined ? null : { runUuid, clusterUuid: null };
}

function labelled(runUuid: string | undefined, labels: Record<string, string> | null): VolumeSummary | null {
  return runUuid === undefined ? null : { runUuid, clusterUuid: labels?.[labelNames.cluster] ?? '' };
}

async function volumesNamed(client: DockerClient, pattern: string): Promise<ListedVolume[]> {
  const query = { filters: JSON.stringify({ name: [pattern] }) };
  const { Volumes } = (await client.json({ path: '/volumes', query })) as { Volumes: ListedVolume[] | null };
  return Volumes ?? [];
}

/** Everything of a run's volumes; its container must be gone. */
export async function removeVolumes(client: DockerClient, runUuid: string): Promise<void> {
  const helpers = await client.json({
    path: '/containers/json',
    query: { all: '1', filters: JSON.stringify({ label: [`${labelNames.volumeOf}=${runUuid}`] }) },
  });
  for (const { Id } of helpers as ListedHelper[]) await removeContainer(client, Id);
  for (const { Name } of await volumesNamed(client, `^flotilla-${runUuid}-`))
    await removeVolume(client, Name);
}

async function removeContainer(client: DockerClient, nameOrId: string): Promise<void> {
  await unlessGone(
    client.json({
      path: `/containers/${nameOrId}`,
      method: 'DELETE',
      query: { force: '1', v: '1' },
      timeoutMs: removeTimeoutMs,
    }),
  );
}

async function removeVolume(client: DockerClient, name: string): Promise<void> {
  await unlessGone(client.json({ path: `/volumes/${name}`, method: 'DELETE', timeoutMs: removeTimeoutMs }));
}

async function unlessGone(call: Promise<unknown>): Promise<void> {
  try {
    await call;
  } catch (error) {
    if (!(error instanceof EngineRefusal && error.statusCode === 404)) throw error;
  }
}
