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
  readonly #expected = new Set([...edgeNames, ...faultNames]);
  readonly #counts = new Map<string, number>([...this.#expected].map((name) => [name, 0]));

  add({ steps, counts, violation }: SeedLine): void {
    this.seedCount += 1;
    this.stepCount += steps;
    if (violation !== null) this.failedCount += 1;
    for (const [name, count] of Object.entries(counts))
      this.#counts.set(name, (this.#counts.get(name) ?? 0) + count);
  }

  table(): string {
    const rows = [...this.#counts].sort(([a], [b]) => (a < b ? -1 : 1)).map(line);
    const { stepCount, seedCount, failedCount } = this;
    const steps = `${stepCount} steps over ${seedCount} seeds, ${failedCount} failed`;
    return [...rows, '', ...this.#rare(), steps].join('\n');
  }

  /** What must be seen often, and was not. */
  #rare(): string[] {
    const rare = [...this.#counts].filter(([name, count]) => this.#expected.has(name) && count < enough);
    if (rare.length === 0)
      return [`each of ${this.#expected.size} edges and faults at least ${enough} times`];
    const heading = `${rare.length} of ${this.#expected.size} edges and faults fewer than ${enough} times:`;
    return [heading, ...rare.sort(([, a], [, b]) => a - b).map(line)];
  }
}

function line([name, count]: readonly [string, number]): string {
  return `${String(count).padStart(9)}  ${name}`;
}
