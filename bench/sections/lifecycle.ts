// No-op jobs through API, scheduler, hub and simulated agents: how many a second, and how soon an agent has one.

import type { SimulatedAgentsApi } from '../simulated-agents.ts';
import { atLeast, atMost, type Figure, median, percentile, ratioFigure } from '../support/figures.ts';
import { connectFleet } from '../support/fleet.ts';
import { type Flotilla, startServer } from '../support/flotilla.ts';
import { noopJobBody } from '../support/job-bodies.ts';
import type { Worker } from '../support/worker.ts';
import { endChild, type Workspace } from '../support/workspace.ts';
import type { LoadApi, LoadPlan, LoadResult } from '../workers/load.ts';
import type { PeersApi } from '../workers/peers.ts';

const nodeCount = 20;
const clients = 32;
const limitMs = 120_000;
const nsPerMs = 1_000_000;

interface Scene {
  flotilla: Flotilla;
  load: Worker<LoadApi>;
  agents: Worker<SimulatedAgentsApi>;
  peers: Worker<PeersApi>;
  databaseUrl: string;
}

export async function benchLifecycle(
  workspace: Workspace,
  { isQuick }: { isQuick: boolean },
): Promise<Figure[]> {
  const scene = await openScene(workspace);
  const sizes = isQuick ? { rounds: 2, jobs: 3_000, paced: 300 } : { rounds: 3, jobs: 8_000, paced: 800 };
  await wholeLives(scene, 1_000);
  const rounds = [];
  for (let round = 0; round < sizes.rounds; round += 1) {
    const ours = await wholeLives(scene, sizes.jobs);
    const boss = await scene.peers.call('process', { peer: 'pg-boss', count: Math.round(sizes.jobs / 2) });
    const graphile = await scene.peers.call('process', { peer: 'graphile-worker', count: sizes.jobs });
    rounds.push({ ours, boss, graphile });
  }
  const pickupsMs = await pickups(scene, { count: sizes.paced, ratePerSecond: 100 });
  await checkCompleted(workspace, scene, 1_000 + sizes.rounds * sizes.jobs + sizes.paced);
  await scene.agents.call('disconnect', null);
  for (const { child } of [scene.agents, scene.load, scene.peers, scene.flotilla]) await endChild(child);
  return [...rateFigures(rounds), ...pickupFigures(pickupsMs)];
}

async function openScene(workspace: Workspace): Promise<Scene> {
  const { url: databaseUrl } = await workspace.newDatabase('flotilla');
  const { url: peersUrl } = await workspace.newDatabase('peers');
  const load = workspace.startWorker<LoadApi>(new URL('../workers/load.ts', import.meta.url));
  const peers = workspace.startWorker<PeersApi>(new URL('../workers/peers.ts', import.meta.url));
  await peers.call('open', { peer: 'pg-boss', databaseUrl: peersUrl });
  await peers.call('open', { peer: 'graphile-worker', databaseUrl: peersUrl });
  const flotilla = await startServer(workspace, databaseUrl);
  const agents = await connectFleet(workspace, flotilla, { nodeCount });
  return { flotilla, load, agents, peers, databaseUrl };
}

/** Jobs per second from the first submit until the end of the last is stored. */
async function wholeLives(scene: Scene, count: number): Promise<number> {
  await scene.agents.call('reset', null);
  const ended = scene.agents.call('awaitCompleted', { count, limitMs });
  const result = await submit(scene, { until: { count }, presignCount: count });
  const endedAtNs = await ended;
  // Answers may be noted out of order; the first of them is what counts.
  const submittedAtNs = BigInt(
    Math.min(...result.acknowledged.slice(0, clients).map(({ atNs }) => Number(atNs))),
  );
  const firstLatencyMs = result.latenciesMs[0] ?? 0;
  return count / ((Number(endedAtNs - submittedAtNs) / nsPerMs + firstLatencyMs) / 1000);
}

/** Milliseconds from the acknowledged submit until an agent had the run; below zero when it was there before. */
async function pickups(scene: Scene, pace: { count: number; ratePerSecond: number }): Promise<number[]> {
  const { count, ratePerSecond } = pace;
  await scene.agents.call('reset', null);
  const ended = scene.agents.call('awaitCompleted', { count, limitMs });
  const result = await submit(scene, { until: { count }, presignCount: count, ratePerSecond });
  await ended;
  const pickedUp = await scene.agents.call('pickups', null);
  return result.acknowledged.map(({ uuid, atNs }) => {
    const pickedUpAtNs = pickedUp.get(uuid);
    if (pickedUpAtNs === undefined) throw new Error(`Job ${uuid} never reached an agent.`);
    return Number(pickedUpAtNs - atNs) / nsPerMs;
  });
}

async function submit(
  { flotilla, load }: Scene,
  plan: Pick<LoadPlan, 'until' | 'presignCount' | 'ratePerSecond'>,
): Promise<LoadResult> {
  const { url, key } = flotilla;
  const request = { url, key, method: 'POST' as const, paths: ['/v1/jobs'], body: noopJobBody(), clients };
  const result = await load.call('run', { ...request, ...plan });
  if (Object.keys(result.failures).length > 0)
    throw new Error(`Submits failed: ${JSON.stringify(result.failures)}`);
  return result;
}

/** A life counts only if the database says so: every job COMPLETED, every run's resources back. */
async function checkCompleted(workspace: Workspace, { databaseUrl }: Scene, expected: number): Promise<void> {
  const database = workspace.openDatabase(databaseUrl);
  // The release follows the end by one report.
  for (let tries = 0; ; tries += 1) {
    const [row] = await database.query<{ completed: number; held: number }>(
      `select (select count(*) from jobs where status = 'COMPLETED') as completed,
        (select count(*) from job_runs where released_at is null) as held`,
    );
    if (row?.completed === expected && row.held === 0) return;
    if (tries === 20)
      throw new Error(
        `Of ${expected} jobs ${row?.completed} are COMPLETED and ${row?.held} runs hold resources.`,
      );
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

function rateFigures(rounds: readonly { ours: number; boss: number; graphile: number }[]): Figure[] {
  const base = {
    section: 'lifecycle',
    name: 'whole lives of no-op jobs, 32 submitters',
    unit: '/s',
    raw: rounds,
  };
  const value = median(rounds.map((round) => round.ours));
  const beside = (name: string, of: (round: (typeof rounds)[number]) => number) =>
    ratioFigure(base, {
      value,
      floor: { name, value: value / median(rounds.map((round) => round.ours / of(round))) },
    });
  return [
    { ...beside('pg-boss, no-op', (round) => round.boss), goal: atLeast(value, 2_500, '/s') },
    { ...beside('graphile-worker, no-op', (round) => round.graphile), goal: atLeast(value, 4_000, '/s') },
  ];
}

function pickupFigures(raw: readonly number[]): Figure[] {
  const base = { section: 'lifecycle', unit: 'ms' };
  const p50 = percentile(raw, 0.5);
  return [
    {
      ...base,
      name: 'submit acknowledged → agent has the run, 100 jobs/s, p50',
      value: p50,
      goal: atMost(p50, 10, 'ms'),
      raw,
    },
    { ...base, name: 'the same, p99', value: percentile(raw, 0.99) },
  ];
}
