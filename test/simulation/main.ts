// `npm run simulate -- --steps N --seed S [--seeds K]`: K seeds from S on, N steps in all; a failing seed tells how to replay it.
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { runSeeds } from './seed-runs.ts';
import { Tally } from './tally.ts';

const { values } = parseArgs({
  options: {
    steps: { type: 'string', default: '100000' },
    seed: { type: 'string', default: '1' },
    seeds: { type: 'string', default: '1' },
    workers: { type: 'string', default: String(Math.min(2, availableParallelism())) },
    /** Lines of the trace shown of a failure. */
    lines: { type: 'string', default: '60' },
  },
});

const seedCount = Number(values.seeds);
const steps = Math.ceil(Number(values.steps) / seedCount);
const tally = new Tally();
const options = { firstSeed: Number(values.seed), seedCount, steps, workerCount: Number(values.workers) };
await runSeeds({ ...options, stopsAtFailure: false }, (line) => {
  tally.add(line);
  const seconds = (line.tookMs / 1000).toFixed(1);
  console.log(
    `seed ${line.seed}: ${line.steps} steps, ${(line.simulatedMs / 1000).toFixed(0)} s simulated in ${seconds} s, trace ${line.traceHash}`,
  );
  if (line.violation === null) return;
  const { message, step, recent } = line.violation;
  console.log(recent.slice(-Number(values.lines)).join('\n'));
  console.log(`seed ${line.seed} failed at step ${step}: ${message}`);
  console.log(`replay: npm run simulate -- --seed ${line.seed} --steps ${steps}`);
});
console.log(tally.table());
process.exit(tally.failedCount === 0 ? 0 : 1);
