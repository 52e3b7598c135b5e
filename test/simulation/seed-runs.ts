// Starts workers that run seeds, and hands on what each seed came to.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { SeedLine } from './seed-worker.ts';

export interface SeedRuns {
  /** Tree that holds src and test; absent: this one. */
  root?: string;
  firstSeed: number;
  seedCount: number;
  /** Of each seed, under faults. */
  steps: number;
  workerCount: number;
  stopsAtFailure: boolean;
  ignored?: readonly string[];
}

const thisRoot = join(import.meta.dirname, '..', '..');

/** Resolves when all workers are done; rejects when one of them broke. */
export async function runSeeds(runs: SeedRuns, onLine: (line: SeedLine) => void): Promise<void> {
  const workerCount = Math.min(runs.workerCount, runs.seedCount);
  await Promise.all(
    Array.from({ length: workerCount }, (_, index) => runWorker(runs, { index, workerCount, onLine })),
  );
}

async function runWorker(
  runs: SeedRuns,
  { index, workerCount, onLine }: { index: number; workerCount: number; onLine: (line: SeedLine) => void },
): Promise<void> {
  const { root = thisRoot, firstSeed, seedCount, steps, stopsAtFailure, ignored = [] } = runs;
  const count = Math.ceil((seedCount - index) / workerCount);
  const args = [
    join(root, 'test', 'simulation', 'seed-worker.ts'),
    ...['--from', firstSeed + index, '--stride', workerCount, '--count', count, '--steps', steps].map(String),
    ...(stopsAtFailure ? ['--stop-at-failure'] : []),
    ...ignored.flatMap((invariant) => ['--ignore', invariant]),
  ];
  const child = spawn(process.execPath, args, {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, FLOTILLA_TEST_POSTGRES: 'embedded' },
  });
  const end = () => child.kill();
  process.once('exit', end);
  endOrderlyBySignal();
  for await (const line of createInterface({ input: child.stdout })) onLine(JSON.parse(line) as SeedLine);
  if (child.exitCode === null) await once(child, 'exit');
  process.off('exit', end);
  if (child.exitCode !== 0)
    throw new Error(`A worker of the simulation ended with ${child.exitCode ?? child.signalCode}.`);
}

/** Else workers and their PostgreSQL would outlive us. */
function endOrderlyBySignal(): void {
  for (const signal of ['SIGTERM', 'SIGINT'] as const)
    if (process.listenerCount(signal) === 0) process.once(signal, () => process.exit(1));
}
