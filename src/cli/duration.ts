// Durations as people write and read them: `30s`, `5m`, `1h30m`.
import { UsageError } from './errors.ts';

const unitMs = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;
type Unit = keyof typeof unitMs;

/** Milliseconds of `text`; a bare number is refused because its unit would be a guess. */
export function parseDurationMs(text: string): number {
  const parts = [...text.trim().matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/gy)];
  const length = parts.reduce((sum, part) => sum + part[0].length, 0);
  if (parts.length === 0 || length !== text.trim().length) {
    throw new UsageError(`"${text}" is not a duration: write it like 30s, 5m, 2h, 1h30m or 7d.`);
  }
  return Math.round(parts.reduce((sum, part) => sum + Number(part[1]) * unitMs[part[2] as Unit], 0));
}

/** The two largest units of `ms`, for people: `45ms`, `3.2s`, `4m 10s`, `2h 5m`, `3d 4h`. */
export function formatDuration(ms: number): string {
  if (ms < 1_000) return `${Math.max(0, Math.round(ms))}ms`;
  if (ms < 10_000) return `${Math.floor(ms / 100) / 10}s`;
  if (ms < unitMs.m) return `${Math.floor(ms / unitMs.s)}s`;
  if (ms < unitMs.h) return pair(ms, 'm', 's');
  if (ms < unitMs.d) return pair(ms, 'h', 'm');
  return pair(ms, 'd', 'h');
}

/** One unit is enough for a column of ages: `12s`, `3m`, `5h`, `9d`. */
export function formatAge(ms: number): string {
  const age = Math.max(0, ms);
  if (age < unitMs.m) return `${Math.floor(age / unitMs.s)}s`;
  if (age < unitMs.h) return `${Math.floor(age / unitMs.m)}m`;
  if (age < 2 * unitMs.d) return `${Math.floor(age / unitMs.h)}h`;
  return `${Math.floor(age / unitMs.d)}d`;
}

function pair(ms: number, large: Unit, small: Unit): string {
  const count = Math.floor(ms / unitMs[large]);
  const rest = Math.floor((ms - count * unitMs[large]) / unitMs[small]);
  return rest === 0 ? `${count}${large}` : `${count}${large} ${rest}${small}`;
}
