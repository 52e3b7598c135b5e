// A real container from submit to COMPLETED, against the same container made by hand over the Docker API.
import type Docker from 'dockerode';
import { submitJob, untilStatus } from '../support/container-jobs.ts';
import {
  type ContainerEnds,
  containerOfJob,
  engineSocket,
  likenessOf,
  openEngine,
  startContainer,
  untilAllRemoved,
  watchEnds,
} from '../support/docker.ts';
import { type Figure, percentile, ratioFigure } from '../support/figures.ts';
import { type Flotilla, startUp } from '../support/flotilla.ts';
import { endChild, type Workspace } from '../support/workspace.ts';

const command = ['true'];
const atOnce = 8;
const maxExtraMs = 15;

export async function benchContainer(
  workspace: Workspace,
  { isQuick }: { isQuick: boolean },
): Promise<Figure[]> {
  const sizes = isQuick
    ? { sequential: 12, rounds: 1, parallel: 32 }
    : { sequential: 30, rounds: 2, parallel: 48 };
  const flotilla = await startUp(workspace, engineSocket());
  const docker = openEngine();
  const scene: Scene = { flotilla, docker, ends: await watchEnds(docker), body: {} };
  scene.body = await bareBody(scene);
  await bareLife(scene);
  await ourLife(scene);
  const ours: number[] = [];
  const bare: number[] = [];
  for (let round = 0; round < sizes.sequential; round += 1) {
    bare.push(await timed(() => bareLife(scene)));
    ours.push(await timed(() => ourLife(scene)));
    await untilAllRemoved(scene.docker);
  }
  const rates = [];
  for (let round = 0; round < sizes.rounds; round += 1) {
    const bareRate = await rateOf(sizes.parallel, () => bareLife(scene));
    const oursRate = await rateOf(sizes.parallel, () => ourWholeLife(scene));
    rates.push({ bare: bareRate, ours: oursRate });
  }
  scene.ends.close();
  await endChild(flotilla.child);
  return [latencyFigure(ours, bare), rateFigure(rates)];
}

interface Scene {
  flotilla: Flotilla;
  docker: Docker;
  ends: ContainerEnds;
  body: object;
}

/** The very settings of a container that Flotilla made. */
async function bareBody({ flotilla, docker }: Scene): Promise<object> {
  const job = await submitJob(flotilla, { command: ['sleep', '60'] });
  await untilStatus(flotilla, job.uuid, 'RUNNING');
  const likeness = await likenessOf(docker, await containerOfJob(docker, job.uuid));
  await flotilla.client.jobs.cancel(job.uuid, { stop_grace_ms: 0, wait_ms: 30_000 });
  return likeness(command);
}

async function bareLife({ docker, body }: Scene): Promise<void> {
  const container = await startContainer(docker, body);
  await container.wait();
  await container.remove();
}

/** Asks for the status only from the container's death on: asking all the while would take the time from its start. */
async function ourLife({ flotilla, ends }: Scene): Promise<void> {
  const job = await submitJob(flotilla, { command });
  await ends.diedAt(job.uuid);
  await untilStatus(flotilla, job.uuid, 'COMPLETED');
}

/** To the removal of its container; by then the job is COMPLETED. */
async function ourWholeLife({ flotilla, ends }: Scene): Promise<void> {
  const job = await submitJob(flotilla, { command });
  await ends.removedAt(job.uuid);
  await untilStatus(flotilla, job.uuid, 'COMPLETED');
}

async function timed(work: () => Promise<void>): Promise<number> {
  const startedAt = performance.now();
  await work();
  return performance.now() - startedAt;
}

/** Containers per second with eight under way. */
async function rateOf(count: number, life: () => Promise<void>): Promise<number> {
  let left = count;
  const one = async () => {
    while (left-- > 0) await life();
  };
  const elapsedMs = await timed(async () => {
    await Promise.all(Array.from({ length: atOnce }, one));
  });
  return count / (elapsedMs / 1000);
}

function latencyFigure(ours: number[], bare: number[]): Figure {
  const value = percentile(ours, 0.5);
  const floor = percentile(bare, 0.5);
  const difference = value - floor;
  return {
    ...{ section: 'container', name: 'submit → COMPLETED, one at a time, p50', unit: 'ms', value },
    floor: { name: 'create+start+wait+remove', value: floor, difference },
    goal: { text: `≤ +${maxExtraMs} ms`, isMet: difference <= maxExtraMs },
    raw: { ours, bare },
  };
}

function rateFigure(rates: { bare: number; ours: number }[]): Figure {
  const ratio = percentile(
    rates.map((rate) => rate.ours / rate.bare),
    0.5,
  );
  const value = percentile(
    rates.map((rate) => rate.ours),
    0.5,
  );
  return ratioFigure(
    { section: 'container', name: `${atOnce} at once, removed`, unit: '/s', raw: rates },
    { value, floor: { name: 'Docker API', value: value / ratio }, atLeast: 0.95 },
  );
}
