// The figures of a run: what was measured, beside which floor, against which goal; as a table and as JSON.
import { execFileSync } from 'node:child_process';
import { cpus, release, totalmem } from 'node:os';

export interface Figure {
  section: string;
  name: string;
  value: number;
  unit: string;
  /** What was measured beside it in the same run; `ratio` is value / floor, or value − floor for a difference. */
  floor?: { name: string; value: number; ratio?: number; difference?: number };
  goal?: { text: string; isMet: boolean };
  /** The rounds or samples that the value sums up. */
  raw?: unknown;
}

/** value / floor, with its goal when there is one. */
export function ratioFigure(
  base: { section: string; name: string; unit: string; raw?: unknown },
  options: { value: number; floor: { name: string; value: number }; atLeast?: number },
): Figure {
  const { value, floor, atLeast } = options;
  const ratio = value / floor.value;
  return {
    ...base,
    value,
    floor: { ...floor, ratio },
    ...(atLeast === undefined ? {} : { goal: { text: `≥ ${atLeast}×`, isMet: ratio >= atLeast } }),
  };
}

export function atMost(value: number, limit: number, unit: string): { text: string; isMet: boolean } {
  return { text: `≤ ${limit} ${unit}`, isMet: value <= limit };
}

export function atLeast(value: number, limit: number, unit: string): { text: string; isMet: boolean } {
  return { text: `≥ ${limit} ${unit}`, isMet: value >= limit };
}

export function percentile(values: readonly number[], fraction: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  const value = sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * fraction))];
  if (value === undefined) throw new Error('Measure at least once.');
  return value;
}

export function median(values: readonly number[]): number {
  return percentile(values, 0.5);
}

export function printFigures(figures: readonly Figure[]): void {
  const rows = figures.map((figure) => [
    figure.section,
    figure.name,
    `${round(figure.value)} ${figure.unit}`,
    figure.floor === undefined ? '' : `${figure.floor.name} ${round(figure.floor.value)}`,
    besideFloor(figure),
    figure.goal?.text ?? '',
    figure.goal === undefined ? '' : figure.goal.isMet ? 'met' : 'SHORT',
  ]);
  const head = ['section', 'what', 'figure', 'beside it', 'ratio', 'goal', ''];
  const widths = head.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => (row[column] ?? '').length)),
  );
  for (const row of [head, widths.map((width) => '─'.repeat(width)), ...rows])
    console.log(
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    );
}

function besideFloor({ floor }: Figure): string {
  if (floor?.ratio !== undefined) return `${floor.ratio.toFixed(2)}×`;
  if (floor?.difference !== undefined) return `${floor.difference >= 0 ? '+' : ''}${round(floor.difference)}`;
  return '';
}

export function round(value: number): string {
  if (Math.abs(value) >= 1_000) return Math.round(value).toLocaleString('en-US');
  return value.toFixed(Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2);
}

/** The machine and the programs the figures hold for. */
export function describeMachine(postgres: string): Record<string, unknown> {
  const processors = cpus();
  return {
    cpu: processors[0]?.model ?? 'unknown',
    cores: processors.length,
    memory_gb: Math.round(totalmem() / 1e9),
    kernel: release(),
    node: process.version,
    postgres,
    docker: dockerVersion(),
    load_average_at_start: Number(loadAverage().toFixed(2)),
  };
}

function loadAverage(): number {
  try {
    return Number(execFileSync('cat', ['/proc/loadavg'], { encoding: 'utf8' }).split(' ')[0]);
  } catch {
    return Number.NaN;
  }
}

function dockerVersion(): string | null {
  try {
    return execFileSync('dockerd', ['--version'], { encoding: 'utf8', timeout: 5_000 }).trim();
  } catch {
    return null;
  }
}
