// Adds up what seeds counted: edges of jobs, runs and nodes, events, and faults.
import { faultNames } from './faults.ts';
import type { SeedLine } from './seed-worker.ts';

export class Tally {
  seedCount = 0;
  stepCount = 0;
  failedCount = 0;
  readonly counts = new Map<string, number>(faultNames.map((name) => [name, 0]));

  add({ steps, counts, violation }: SeedLine): void {
    this.seedCount += 1;
    this.stepCount += steps;
    if (violation !== null) this.failedCount += 1;
    for (const [name, count] of Object.entries(counts))
      this.counts.set(name, (this.counts.get(name) ?? 0) + count);
  }

  table(): string {
    const rows = [...this.counts].sort(([a], [b]) => (a < b ? -1 : 1));
    const lines = rows.map(([name, count]) => `${String(count).padStart(9)}  ${name}`);
    const { stepCount, seedCount, failedCount } = this;
    return [...lines, `${stepCount} steps over ${seedCount} seeds, ${failedCount} failed`].join('\n');
  }
}
