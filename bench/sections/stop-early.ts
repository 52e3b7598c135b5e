// Stop Job before a container runs: while the job waits, many that wait in one call, and while its image is pulled.
import type Docker from 'dockerode';
import { FakeRegistry } from '../../test/agent/support/registry.ts';
import { submitJob } from '../support/container-jobs.ts';
import { atMost, type Figure, median } from '../support/figures.ts';
import type { Flotilla } from '../support/flotilla.ts';

const submitAtOnce = 16;
const section = 'stop';
const image = { image: 'slow/image', tag: '1' };

export interface EarlyScene {
  flotilla: Flotilla;
  docker: Docker;
}

export async function benchEarlyStops(
  scene: EarlyScene,
  sizes: { pending: number; pulls: number },
): Promise<Figure[]> {
  const eachMs = await pendingOneByOne(scene, sizes.pending);
  const bulkMs = await pendingAtOnce(scene, sizes.pending);
  return [
    { section, name: 'PENDING: request → CANCELLED, p50', unit: 'ms', value: median(eachMs) },
    {
      ...{ section, name: `${sizes.pending} PENDING in one call`, unit: 'ms', value: bulkMs },
      floor: { name: 'one by one', value: eachMs.reduce((sum, ms) => sum + ms, 0) },
      goal: atMost(bulkMs, 1_000, 'ms'),
    },
    await pullFigure(scene, sizes.pulls),
  ];
}

/** Jobs that no node can take. */
async function submitPending({ flotilla }: EarlyScene, count: number): Promise<string[]> {
  const uuids: string[] = [];
  let left = count;
  const submit = async () => {
    while (left-- > 0) uuids.push((await submitJob(flotilla, { command: ['true'], gpuCount: 1 })).uuid);
  };
  await Promise.all(Array.from({ length: submitAtOnce }, submit));
  return uuids;
}

async function pendingOneByOne(scene: EarlyScene, count: number): Promise<number[]> {
  const tookMs: number[] = [];
  for (const uuid of await submitPending(scene, count)) {
    const askedAt = performance.now();
    await scene.flotilla.client.jobs.cancel(uuid);
    tookMs.push(performance.now() - askedAt);
  }
  return tookMs;
}

async function pendingAtOnce(scene: EarlyScene, count: number): Promise<number> {
  await submitPending(scene, count);
  const askedAt = performance.now();
  const { counts } = await scene.flotilla.client.jobs.cancelAll({ filter: { status: 'PENDING' } });
  const tookMs = performance.now() - askedAt;
  if (counts.stopped !== count) throw new Error(`${counts.stopped} of ${count} PENDING jobs were stopped.`);
  return tookMs;
}

/** Until the engine has dropped the layer that it was fetching; beside it the engine's own pull, hung up on. */
async function pullFigure(scene: EarlyScene, rounds: number): Promise<Figure> {
  const measured = [];
  for (let round = 0; round < rounds; round += 1)
    measured.push({ bare: await hangUpBarePull(scene), ...(await stopOurPull(scene)) });
  const value = median(measured.map(({ ours }) => ours));
  const bare = median(measured.map((one) => one.bare));
  return {
    ...{ section, name: 'pulling: request → pull dropped, p50', unit: 'ms', value },
    floor: { name: 'pull request closed', value: bare, difference: value - bare },
    raw: measured,
  };
}

async function stopOurPull({ flotilla }: EarlyScene): Promise<{ ours: number; verifiedMs: number }> {
  return withRegistry(async (registry) => {
    const { uuid } = await submitJob(flotilla, {
      command: ['true'],
      image: { ...image, host: registry.host },
    });
    await registry.untilBlobAsked();
    await settle();
    const askedAt = performance.now();
    const answered = flotilla.client.jobs.cancel(uuid, { wait_ms: 30_000 });
    await registry.untilBlobDropped();
    const ours = performance.now() - askedAt;
    const { teardown } = await answered;
    if (teardown?.state !== 'verified') throw new Error(`The stop of a pull is ${teardown?.state}.`);
    return { ours, verifiedMs: performance.now() - askedAt };
  });
}

async function hangUpBarePull({ docker }: EarlyScene): Promise<number> {
  return withRegistry(async (registry) => {
    const pull = await docker.createImage({ fromImage: `${registry.host}/${image.image}`, tag: image.tag });
    pull.on('error', () => {});
    pull.resume();
    await registry.untilBlobAsked();
    await settle();
    const askedAt = performance.now();
    (pull as unknown as { destroy(): void }).destroy();
    await registry.untilBlobDropped();
    return performance.now() - askedAt;
  });
}

async function withRegistry<T>(work: (registry: FakeRegistry) => Promise<T>): Promise<T> {
  const registry = await new FakeRegistry({ isSlow: true, pieceMs: 5 }).listen();
  try {
    return await work(registry);
  } finally {
    await registry.close();
  }
}

function settle(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 150));
}
