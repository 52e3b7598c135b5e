// `npm run simulate -- --steps N --seed S [--seeds K]`: many seeds in a row, counted; a failing one tells how to replay it.
import { parseArgs } from 'node:util';
import { startSimulationPostgres } from './postgres.ts';
import { runSeed } from './simulation.ts';

const { values } = parseArgs({
  options: {
    steps: { type: 'string', default: '10000' },
    seed: { type: 'string', default: '1' },
    seeds: { type: 'string', default: '1' },
    lines: { type: 'string', default: '60' },
  },
});

const postgres = await startSimulationPostgres();
let failed = 0;
const counts = new Map<string, number>();
for (let seed = Number(values.seed); seed < Number(values.seed) + Number(values.seeds); seed += 1) {
  const startedAtMs = performance.now();
  const result = await runSeed(await postgres.openDatabase(), { seed, steps: Number(values.steps) });
  for (const [name, count] of result.counts) counts.set(name, (counts.get(name) ?? 0) + count);
  const seconds = (performance.now() - startedAtMs) / 1000;
  console.log(
    `seed ${seed}: ${result.steps} steps, ${(result.simulatedMs / 1000).toFixed(0)} s simulated, ${seconds.toFixed(1)} s, ${result.traceHash}`,
  );
  if (result.violation !== null) {
    failed += 1;
    const { invariant, message, step, recent } = result.violation;
    console.log(recent.slice(-Number(values.lines)).join('\n'));
    console.log(`seed ${seed} failed at step ${step}: ${invariant}\n  ${message}`);
    console.log(`replay: npm run simulate -- --seed ${seed} --steps ${values.steps}`);
  }
}
for (const [name, count] of [...counts].sort()) console.log(String(count).padStart(8), name);
await postgres.stop();
process.exit(failed === 0 ? 0 : 1);
