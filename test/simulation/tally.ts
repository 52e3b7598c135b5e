// Adds up what seeds counted: edges of the state table, events and faults; and says which of them were rare.
import { reachableCells } from '../../src/domain/state-table.ts';
import { faultNames } from './faults.ts';
import type { SeedLine } from './seed-worker.ts';

/** Every edge of the state table that leads to another cell. */
const edgeNames = [
  ...new Set(
    reachableCells.flatMap(({ job, run, on }) =>
      Object.values(on)
        .flat()
        .filter((result) => result.includes('/') && result !== `${job}/${run}`)
        .map((result) => `edge: ${job}/${run} → ${result}`),
    ),
  ),
];
/** A long run sees each edge and each fault so often. */
const enough = 100;

export class Tally {
  seedCount = 0;
  stepCount = 0;
  failedCount = 0;
  readonly #expected = [...edgeNames, ...faultNames];
  readonly #counts = new Map<string, number>(this.#expected.map((name) => [name, 0]));

  add({ steps, counts, violation }: SeedLine): void {
    this.seedCount += 1;
    this.stepCount += steps;
    if (violation !== null) this.failedCount += 1;
    for (const [name, count] of Object.entries(counts))
      this.#counts.set(name, (this.#counts.get(name) ?? 0) + count);
  }

  table(): string {
    const rows = [...this.#counts].sort(([a], [b]) => (a < b ? -1 : 1));
    const lines = rows.map(([name, count]) => `${String(count).padStart(9)}  ${name}`);
    const rare = this.#expected.filter((name) => (this.#counts.get(name) ?? 0) < enough);
    const { stepCount, seedCount, failedCount } = this;
    return [
      ...lines,
      `fewer than ${enough}: ${rare.length === 0 ? 'nothing' : rare.join('; ')}`,
      `${stepCount} steps over ${seedCount} seeds, ${failedCount} failed`,
    ].join('\n');
  }
}
