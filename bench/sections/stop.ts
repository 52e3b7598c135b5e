// Stop Job against `docker stop`: from the request until the container is dead, and many at once.
import type Docker from 'dockerode';
import { submitJob, untilStatus } from '../support/container-jobs.ts';
import {
  containerOfJob,
  type Deaths,
  engineSocket,
  likenessOf,
  openEngine,
  startContainer,
  watchDeaths,
} from '../support/docker.ts';
import { atMost, type Figure, median } from '../support/figures.ts';
import { type Flotilla, startUp } from '../support/flotilla.ts';
import { endChild, type Workspace } from '../support/workspace.ts';

const honours = ['sleep', '3600'];
const ignores = ['sh', '-c', 'trap "" TERM; while :; do sleep 1; done'];
const graceMs = 1_000;
const manyCount = 20;
const submitAtOnce = 16;

interface Scene {
  flotilla: Flotilla;
  docker: Docker;
  deaths: Deaths;
  likeness: (command: string[]) => object;
}

export async function benchStop(workspace: Workspace, { isQuick }: { isQuick: boolean }): Promise<Figure[]> {
  const sizes = isQuick
    ? { honoured: 6, ignored: 2, pending: 300 }
    : { honoured: 15, ignored: 4, pending: 1_000 };
  const scene = await openScene(workspace);
  const honoured = await pairs(scene, { command: honours, rounds: sizes.honoured });
  const ignored = await pairs(scene, { command: ignores, rounds: sizes.ignored });
  const many = { ours: await manyOurs(scene), bare: await manyBare(scene) };
  const pendingMs = await pendingOneByOne(scene, sizes.pending);
  scene.deaths.close();
  await endChild(scene.flotilla.child);
  return [
    ...pairFigures(honoured, ignored),
    {
      ...{ section: 'stop', name: `${manyCount} at once, all dead`, unit: 'ms', value: many.ours },
      floor: { name: 'docker stop', value: many.bare, ratio: many.ours / many.bare },
      goal: atMost(many.ours, 800, 'ms'),
    },
    {
      ...{
        section: 'stop',
        name: `${sizes.pending} PENDING, one request each in turn`,
        unit: 'ms',
        value: pendingMs,
      },
      floor: { name: 'each', value: pendingMs / sizes.pending },
    },
  ];
}

async function openScene(workspace: Workspace): Promise<Scene> {
  const flotilla = await startUp(workspace, engineSocket());
  const docker = openEngine();
  const deaths = await watchDeaths(docker);
  const [first = ''] = await runJobs(flotilla, { command: honours, count: 1 });
  const containerId = await containerOfJob(docker, first);
  const likeness = await likenessOf(docker, containerId);
  await flotilla.client.jobs.cancel(first, { wait_ms: 30_000 });
  return { flotilla, docker, deaths, likeness };
}

interface Pair {
  ours: number;
  bare: number;
}

async function pairs(
  scene: Scene,
  { command, rounds }: { command: string[]; rounds: number },
): Promise<Pair[]> {
  const measured: Pair[] = [];
  for (let round = 0; round < rounds; round += 1)
    measured.push({ bare: await stopBare(scene, command), ours: await stopOurs(scene, command) });
  return measured;
}

async function stopOurs({ flotilla, docker, deaths }: Scene, command: string[]): Promise<number> {
  const [uuid = ''] = await runJobs(flotilla, { command, count: 1 });
  const containerId = await containerOfJob(docker, uuid);
  await settle();
  const askedAt = performance.now();
  const answered = flotilla.client.jobs.cancel(uuid);
  const tookMs = (await deaths.diedAt(containerId)) - askedAt;
  await answered;
  await flotilla.client.jobs.cancel(uuid, { wait_ms: 30_000 });
  return tookMs;
}

async function stopBare({ docker, deaths, likeness }: Scene, command: string[]): Promise<number> {
  const container = await startContainer(docker, likeness(command));
  await settle();
  const askedAt = performance.now();
  const answered = container.stop({ t: graceMs / 1000 });
  const tookMs = (await deaths.diedAt(container.id)) - askedAt;
  await answered;
  await container.remove();
  return tookMs;
}

/** Long enough for the program in the container to have set its traps. */
function settle(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 150));
}

async function manyOurs({ flotilla, docker, deaths }: Scene): Promise<number> {
  const uuids = await runJobs(flotilla, { command: honours, count: manyCount });
  const containerIds = await Promise.all(uuids.map((uuid) => containerOfJob(docker, uuid)));
  await settle();
  const askedAt = performance.now();
  const answered = Promise.all(uuids.map((uuid) => flotilla.client.jobs.cancel(uuid)));
  const diedAt = await Promise.all(containerIds.map((id) => deaths.diedAt(id)));
  await answered;
  await Promise.all(uuids.map((uuid) => flotilla.client.jobs.cancel(uuid, { wait_ms: 30_000 })));
  return Math.max(...diedAt) - askedAt;
}

async function manyBare({ docker, deaths, likeness }: Scene): Promise<number> {
  const containers: Docker.Container[] = [];
  for (let count = 0; count < manyCount; count += 1)
    containers.push(await startContainer(docker, likeness(honours)));
  await settle();
  const askedAt = performance.now();
  const answered = Promise.all(containers.map((container) => container.stop({ t: 10 })));
  const diedAt = await Promise.all(containers.map((container) => deaths.diedAt(container.id)));
  await answered;
  await Promise.all(containers.map((container) => container.remove()));
  return Math.max(...diedAt) - askedAt;
}

async function runJobs(
  flotilla: Flotilla,
  { command, count }: { command: string[]; count: number },
): Promise<string[]> {
  const jobs = await Promise.all(
    Array.from({ length: count }, () => submitJob(flotilla, { command, stopGraceMs: graceMs })),
  );
  await Promise.all(jobs.map((job) => untilStatus(flotilla, job.uuid, 'RUNNING')));
  return jobs.map((job) => job.uuid);
}

/** Jobs that no node can take, stopped one after the other. */
async function pendingOneByOne({ flotilla }: Scene, count: number): Promise<number> {
  const uuids: string[] = [];
  let left = count;
  const submit = async () => {
    while (left-- > 0) uuids.push((await submitJob(flotilla, { command: honours, gpuCount: 1 })).uuid);
  };
  await Promise.all(Array.from({ length: submitAtOnce }, submit));
  const askedAt = performance.now();
  for (const uuid of uuids) await flotilla.client.jobs.cancel(uuid);
  return performance.now() - askedAt;
}

function pairFigures(honoured: Pair[], ignored: Pair[]): Figure[] {
  const [ours, bare] = [median(honoured.map((pair) => pair.ours)), median(honoured.map((pair) => pair.bare))];
  const overMs = median(ignored.map((pair) => pair.ours)) - graceMs;
  const bareOverMs = median(ignored.map((pair) => pair.bare)) - graceMs;
  const section = 'stop';
  return [
    {
      ...{
        section,
        name: 'RUNNING, honours TERM: request → dead, p50',
        unit: 'ms',
        value: ours,
        raw: honoured,
      },
      floor: { name: 'docker stop', value: bare, difference: ours - bare },
      goal: atMost(ours, 80, 'ms'),
    },
    {
      ...{
        section,
        name: 'RUNNING, ignores TERM: beyond its grace, p50',
        unit: 'ms',
        value: overMs,
        raw: ignored,
      },
      floor: { name: 'docker stop', value: bareOverMs, difference: overMs - bareOverMs },
      goal: atMost(overMs, 60, 'ms'),
    },
  ];
}
