// A fixed set of seeds holds every invariant, and a seed tells its story twice with the same words.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { startSimulationPostgres } from './postgres.ts';
import { runSeeds } from './seed-runs.ts';
import type { SeedLine } from './seed-worker.ts';
import { runSeed } from './simulation.ts';

const fixed = { firstSeed: 1, seedCount: 11, steps: 4_000, workerCount: 1 };
const replayed = { seed: 77, steps: 1_500 };

const postgres = await startSimulationPostgres();
after(() => postgres.stop());

test('a fixed set of seeds holds every invariant', async (context) => {
  const lines: SeedLine[] = [];
  await runSeeds({ ...fixed, stopsAtFailure: false }, (line) => void lines.push(line));
  assert.equal(lines.length, fixed.seedCount);
  for (const { seed, steps, violation, counts } of lines) {
    const replay = `npm run simulate -- --seed ${seed} --steps ${fixed.steps}`;
    assert.equal(violation, null, `${violation?.message} (${replay})`);
    assert.ok(steps >= fixed.steps, `seed ${seed} ended after ${steps} steps`);
    const placed = counts['event: placed PENDING → ASSIGNED'] ?? 0;
    assert.ok(placed > 0, `seed ${seed} placed nothing`);
  }
  const steps = lines.reduce((sum, line) => sum + line.steps, 0);
  context.diagnostic(`${steps} steps over ${lines.length} seeds`);
});

test('the same seed has the same trace, another one has another', async () => {
  const first = await runSeed(await postgres.openDatabase(), replayed);
  const second = await runSeed(await postgres.openDatabase(), replayed);
  const other = await runSeed(await postgres.openDatabase(), { ...replayed, seed: replayed.seed + 1 });
  assert.deepEqual([second.traceHash, second.steps], [first.traceHash, first.steps]);
  assert.notEqual(other.traceHash, first.traceHash);
});
