// Runs seeds one after another over a PostgreSQL of its own, and writes one line of JSON for each.
import { parseArgs } from 'node:util';
import { startSimulationPostgres } from './postgres.ts';
import { runSeed } from './simulation.ts';

/** A line of a worker's output; `recent` only where the seed failed. */
export interface SeedLine {
  seed: number;
  steps: number;
  simulatedMs: number;
  tookMs: number;
  traceHash: string;
  counts: Record<string, number>;
  violation: { invariant: string; message: string; step: number; recent: readonly string[] } | null;
}

const keptLines = 300;

const { values } = parseArgs({
  options: {
    /** Seeds `from`, `from + stride`, … */
    from: { type: 'string', default: '1' },
    stride: { type: 'string', default: '1' },
    count: { type: 'string', default: '1' },
    steps: { type: 'string', default: '10000' },
    'stop-at-failure': { type: 'boolean', default: false },
    /** Invariants that do not count, to see what stands behind them. */
    ignore: { type: 'string', multiple: true, default: [] },
  },
});

const postgres = await startSimulationPostgres();
try {
  for (let index = 0; index < Number(values.count); index += 1) {
    const seed = Number(values.from) + index * Number(values.stride);
    const startedAtMs = performance.now();
    const options = { seed, steps: Number(values.steps), ignored: values.ignore };
    const { counts, violation, ...result } = await runSeed(await postgres.openDatabase(), options);
    const line: SeedLine = {
      ...result,
      tookMs: performance.now() - startedAtMs,
      counts: Object.fromEntries(counts),
      violation: violation && { ...violation, recent: violation.recent.slice(-keptLines) },
    };
    process.stdout.write(`${JSON.stringify(line)}\n`);
    if (violation !== null && values['stop-at-failure']) break;
  }
} finally {
  await postgres.stop();
}
process.exit(0);
