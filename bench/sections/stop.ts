// Stop Job against `docker stop`: from the request until the container is dead, and many at once.
import type Docker from 'dockerode';
import { submitJob, untilStatus } from '../support/container-jobs.ts';
import {
  type ContainerEnds,
  containerOfJob,
  engineSocket,
  likenessOf,
  openEngine,
  startContainer,
  watchEnds,
} from '../support/docker.ts';
import { atMost, type Figure, median } from '../support/figures.ts';
import { type Flotilla, startUp } from '../support/flotilla.ts';
import { endChild, type Workspace } from '../support/workspace.ts';
import { benchEarlyStops } from './stop-early.ts';

const honours = ['sleep', '3600'];
const ignores = ['sh', '-c', 'trap "" TERM; while :; do sleep 1; done'];
const graceMs = 1_000;
const manyCount = 20;

interface Scene {
  flotilla: Flotilla;
  docker: Docker;
  ends: ContainerEnds;
  likeness: (command: string[]) => object;
}

export async function benchStop(workspace: Workspace, { isQuick }: { isQuick: boolean }): Promise<Figure[]> {
  const sizes = isQuick
    ? { honoured: 6, ignored: 2, pending: 300, pulls: 2 }
    : { honoured: 15, ignored: 4, pending: 1_000, pulls: 7 };
  const scene = await openScene(workspace);
  const honoured = await pairs(scene, { command: honours, rounds: sizes.honoured });
  const ignored = await pairs(scene, { command: ignores, rounds: sizes.ignored });
  const many = {
    ours: await manyOurs(scene, stopEach),
    inOneCall: await manyOurs(scene, stopInOneCall),
    bare: await manyBare(scene),
  };
  const early = await benchEarlyStops(scene, sizes);
  scene.ends.close();
  await endChild(scene.flotilla.child);
  return [
    ...early,
    ...pairFigures(honoured, ignored),
    manyFigure('at once', many.ours, many.bare),
    manyFigure('in one call', many.inOneCall, many.bare),
  ];
}

function manyFigure(how: string, ours: number, bare: number): Figure {
  return {
    ...{ section: 'stop', name: `${manyCount} RUNNING ${how}, all dead`, unit: 'ms', value: ours },
    floor: { name: 'docker stop', value: bare, ratio: ours / bare },
    goal: atMost(ours, 800, 'ms'),
  };
}

async function openScene(workspace: Workspace): Promise<Scene> {
  const flotilla = await startUp(workspace, engineSocket());
  const docker = openEngine();
  const ends = await watchEnds(docker);
  const [first = ''] = await runJobs(flotilla, { command: honours, count: 1 });
  const containerId = await containerOfJob(docker, first);
  const likeness = await likenessOf(docker, containerId);
  await flotilla.client.jobs.cancel(first, { wait_ms: 30_000 });
  return { flotilla, docker, ends, likeness };
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

async function stopOurs({ flotilla, docker, ends }: Scene, command: string[]): Promise<number> {
  const [uuid = ''] = await runJobs(flotilla, { command, count: 1 });
  const containerId = await containerOfJob(docker, uuid);
  await settle();
  const askedAt = performance.now();
  const answered = flotilla.client.jobs.cancel(uuid);
  const tookMs = (await ends.diedAt(containerId)) - askedAt;
  await answered;
  await flotilla.client.jobs.cancel(uuid, { wait_ms: 30_000 });
  return tookMs;
}

async function stopBare({ docker, ends, likeness }: Scene, command: string[]): Promise<number> {
  const container = await startContainer(docker, likeness(command));
  await settle();
  const askedAt = performance.now();
  const answered = container.stop({ t: graceMs / 1000 });
  const tookMs = (await ends.diedAt(container.id)) - askedAt;
  await answered;
  await container.remove();
  return tookMs;
}

/** Long enough for the program in the container to have set its traps. */
function settle(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 150));
}

type StopMany = (flotilla: Flotilla, uuids: string[]) => Promise<unknown>;

const stopEach: StopMany = ({ client }, uuids) => Promise.all(uuids.map((uuid) => client.jobs.cancel(uuid)));
const stopInOneCall: StopMany = ({ client }, uuids) => client.jobs.cancelAll({ filter: { uuid: uuids } });

async function manyOurs({ flotilla, docker, ends }: Scene, stop: StopMany): Promise<number> {
  const uuids = await runJobs(flotilla, { command: honours, count: manyCount });
  const containerIds = await Promise.all(uuids.map((uuid) => containerOfJob(docker, uuid)));
  await settle();
  const askedAt = performance.now();
  const answered = stop(flotilla, uuids);
  const diedAt = await Promise.all(containerIds.map((id) => ends.diedAt(id)));
  await answered;
  await Promise.all(uuids.map((uuid) => flotilla.client.jobs.cancel(uuid, { wait_ms: 30_000 })));
  return Math.max(...diedAt) - askedAt;
}

async function manyBare({ docker, ends, likeness }: Scene): Promise<number> {
  const containers: Docker.Container[] = [];
  for (let count = 0; count < manyCount; count += 1)
    containers.push(await startContainer(docker, likeness(honours)));
  await settle();
  const askedAt = performance.now();
  const answered = Promise.all(containers.map((container) => container.stop({ t: 10 })));
  const diedAt = await Promise.all(containers.map((container) => ends.diedAt(container.id)));
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
