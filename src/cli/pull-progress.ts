// The image pull as one line: bytes, share, rate and time left.
import type { PullProgress } from '../protocol/job-run.ts';
import { formatDuration } from './duration.ts';

const barWidth = 24;

/** `Pulling 45% of 265 MB at 12 MB/s, 12s left`; parts that are not known are left out. */
export function pullLine(progress: PullProgress): string {
  const { received_bytes: received, total_bytes: total, bytes_per_second: rate, eta_ms: eta } = progress;
  const amount =
    total === null ? formatBytes(received) : `${share(received, total)}% of ${formatBytes(total)}`;
  const speed = rate === null || rate <= 0 ? '' : ` at ${formatBytes(rate)}/s`;
  const left = eta === null || eta <= 0 ? '' : `, ${formatDuration(Math.ceil(eta / 1_000) * 1_000)} left`;
  return `${progress.phase === 'extracting' ? 'Extracting' : 'Pulling'} ${amount}${speed}${left}`;
}

/** The same with a bar in front, for a terminal; no bar while the total is unknown. */
export function pullBar(progress: PullProgress): string {
  const { received_bytes: received, total_bytes: total } = progress;
  if (total === null) return pullLine(progress);
  const filled = Math.round((share(received, total) / 100) * barWidth);
  return `[${'#'.repeat(filled)}${'-'.repeat(barWidth - filled)}] ${pullLine(progress)}`;
}

/** Bytes in decimal units, three digits at most: `999 B`, `1.2 MB`, `22.7 GB`. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  for (const unit of ['B', 'kB', 'MB', 'GB', 'TB']) {
    if (Math.round(value) < 1_000 || unit === 'TB') {
      return `${value < 100 && unit !== 'B' ? Number(value.toFixed(1)) : Math.round(value)} ${unit}`;
    }
    value /= 1_000;
  }
  return `${bytes} B`;
}

/** Whole percent, 100 only when all is there. */
function share(received: number, total: number): number {
  if (total <= 0) return received > 0 ? 100 : 0;
  return Math.min(100, Math.floor((received / total) * 100));
}
