// Signed POST and GET of jobs under 32 clients, against a bare floor and two job queues on the same PostgreSQL.
import { type Figure, median, percentile, ratioFigure } from '../support/figures.ts';
import { type Flotilla, startServer } from '../support/flotilla.ts';
import { noopJobBody } from '../support/job-bodies.ts';
import type { Worker } from '../support/worker.ts';
import { endChild, type Workspace } from '../support/workspace.ts';
import type { FloorApi } from '../workers/floor.ts';
import type { LoadApi, LoadPlan, LoadResult } from '../workers/load.ts';
import type { PeersApi } from '../workers/peers.ts';

const clients = 32;
/** Far more than a round needs would only cost memory and time before it. */
const presignedPerSecond = 14_000;

export async function benchApi(workspace: Workspace, { isQuick }: { isQuick: boolean }): Promise<Figure[]> {
  const scene = await openScene(workspace);
  const sizes = isQuick ? { rounds: 3, roundMs: 1_500 } : { rounds: 5, roundMs: 3_000 };
  await post(scene, { target: 'floor', durationMs: 700 });
  await post(scene, { target: 'ours', durationMs: 700 });
  const rounds = [];
  for (let round = 0; round < sizes.rounds; round += 1) rounds.push(await postRound(scene, sizes.roundMs));
  await checkStored(workspace, scene);
  const reads = [];
  await get(scene, { target: 'floor', durationMs: 700 });
  await get(scene, { target: 'ours', durationMs: 700 });
  for (let round = 0; round < sizes.rounds; round += 1) {
    const durationMs = sizes.roundMs / 2;
    reads.push({
      floor: await get(scene, { target: 'floor', durationMs }),
      ours: await get(scene, { target: 'ours', durationMs }),
    });
  }
  for (const { child } of [scene.flotilla, scene.load, scene.floor, scene.peers]) await endChild(child);
  return [...postFigures(rounds), ...getFigures(reads)];
}

interface Scene {
  flotilla: Flotilla;
  load: Worker<LoadApi>;
  floor: Worker<FloorApi>;
  peers: Worker<PeersApi>;
  floorUrl: string;
  databaseUrl: string;
  floorDatabaseUrl: string;
  acknowledged: Record<Target, string[]>;
}

type Target = 'floor' | 'ours';

async function openScene(workspace: Workspace): Promise<Scene> {
  const { url: databaseUrl } = await workspace.newDatabase('flotilla');
  const floorDatabaseUrl = await workspace.newFloorDatabase();
  const { url: peersUrl } = await workspace.newDatabase('peers');
  const floor = workspace.startWorker<FloorApi>(new URL('../workers/floor.ts', import.meta.url));
  const load = workspace.startWorker<LoadApi>(new URL('../workers/load.ts', import.meta.url));
  const peers = workspace.startWorker<PeersApi>(new URL('../workers/peers.ts', import.meta.url));
  const { url: floorUrl } = await floor.call('start', { databaseUrl: floorDatabaseUrl });
  await peers.call('open', { peer: 'pg-boss', databaseUrl: peersUrl });
  await peers.call('open', { peer: 'graphile-worker', databaseUrl: peersUrl });
  const flotilla = await startServer(workspace, databaseUrl);
  const acknowledged = { floor: [], ours: [] };
  return { flotilla, load, floor, peers, floorUrl, databaseUrl, floorDatabaseUrl, acknowledged };
}

interface Round {
  floor: Rate;
  ours: Rate;
  boss: number;
  graphile: number;
}

interface Rate {
  perSecond: number;
  p50Ms: number;
  p99Ms: number;
}

async function postRound(scene: Scene, durationMs: number): Promise<Round> {
  const floor = await post(scene, { target: 'floor', durationMs });
  const ours = await post(scene, { target: 'ours', durationMs });
  const boss = await scene.peers.call('send', { peer: 'pg-boss', durationMs: durationMs / 2 });
  const graphile = await scene.peers.call('send', { peer: 'graphile-worker', durationMs: durationMs / 2 });
  return { floor, ours, boss, graphile };
}

interface Turn {
  target: Target;
  durationMs: number;
}

async function post(scene: Scene, turn: Turn): Promise<Rate> {
  const result = await drive(scene, turn, { method: 'POST', paths: ['/v1/jobs'], body: noopJobBody() });
  for (const { uuid } of result.acknowledged) scene.acknowledged[turn.target].push(uuid);
  return rateOf(result);
}

async function get(scene: Scene, turn: Turn): Promise<Rate> {
  const paths = scene.acknowledged[turn.target].slice(-2_000).map((uuid) => `/v1/jobs/${uuid}`);
  return rateOf(await drive(scene, turn, { method: 'GET', paths, body: null }));
}

async function drive(
  scene: Scene,
  { target, durationMs }: Turn,
  request: Pick<LoadPlan, 'method' | 'paths' | 'body'>,
): Promise<LoadResult> {
  const isOurs = target === 'ours';
  const result = await scene.load.call('run', {
    ...request,
    url: isOurs ? scene.flotilla.url : scene.floorUrl,
    key: isOurs ? scene.flotilla.key : null,
    clients,
    until: { durationMs },
    presignCount: Math.ceil((durationMs / 1000) * presignedPerSecond),
  });
  if (Object.keys(result.failures).length > 0)
    throw new Error(`Requests to ${target} failed: ${JSON.stringify(result.failures)}`);
  return result;
}

function rateOf({ count, elapsedMs, latenciesMs }: LoadResult): Rate {
  return {
    perSecond: count / (elapsedMs / 1000),
    p50Ms: percentile(latenciesMs, 0.5),
    p99Ms: percentile(latenciesMs, 0.99),
  };
}

/** A rate counts only if every job that was acknowledged is there. */
async function checkStored(workspace: Workspace, scene: Scene): Promise<void> {
  for (const target of ['floor', 'ours'] as const) {
    const url = target === 'ours' ? scene.databaseUrl : scene.floorDatabaseUrl;
    const database = workspace.openDatabase(url);
    const ids = scene.acknowledged[target];
    const [row] = await database.query<{ count: number }>(
      'select count(*) from jobs where id = any ($1::uuid[])',
      [ids],
    );
    if (row?.count !== ids.length)
      throw new Error(`${target}: ${ids.length} jobs were acknowledged, ${row?.count} are stored.`);
  }
}

function postFigures(rounds: readonly Round[]): Figure[] {
  const section = 'api';
  const ours = median(rounds.map((round) => round.ours.perSecond));
  const ratios = (name: string, floorOf: (round: Round) => number, goal?: number) => {
    const ratio = median(rounds.map((round) => round.ours.perSecond / floorOf(round)));
    return ratioFigure(
      { section, name: 'signed POST /v1/jobs, 32 clients', unit: '/s', raw: rounds },
      { value: ours, floor: { name, value: ours / ratio }, ...(goal === undefined ? {} : { atLeast: goal }) },
    );
  };
  return [
    ratios('one INSERT a request', (round) => round.floor.perSecond, 1.4),
    ratios('pg-boss send', (round) => round.boss, 4),
    ratios('graphile-worker addJob', (round) => round.graphile, 4),
    ...latencyFigures('POST', rounds),
  ];
}

function getFigures(reads: readonly { floor: Rate; ours: Rate }[]): Figure[] {
  const ours = median(reads.map((read) => read.ours.perSecond));
  const ratio = median(reads.map((read) => read.ours.perSecond / read.floor.perSecond));
  return [
    ratioFigure(
      { section: 'api', name: 'signed GET /v1/jobs/{uuid}, 32 clients', unit: '/s', raw: reads },
      { value: ours, floor: { name: 'one prepared read', value: ours / ratio }, atLeast: 0.9 },
    ),
    ...latencyFigures('GET', reads),
  ];
}

function latencyFigures(name: string, rounds: readonly { floor: Rate; ours: Rate }[]): Figure[] {
  return (['p50Ms', 'p99Ms'] as const).map((key) => ({
    ...{ section: 'api', name: `${name} latency ${key.slice(0, 3)}`, unit: 'ms' },
    value: median(rounds.map((round) => round.ours[key])),
    floor: { name: 'floor', value: median(rounds.map((round) => round.floor[key])) },
  }));
}
