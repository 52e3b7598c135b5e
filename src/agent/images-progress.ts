// Progress of a preparation as it is told: bytes over all its images and volumes, the rate of the last seconds, time left.
import type { Clock } from './clock.ts';
import type { PullMeterReading } from './run-record.ts';
import type { PullProgress } from './runtime.ts';

const everyMs = 1_000;
/** Long enough to be steady, short enough to show a line that slows down. */
const rateWindowMs = 5_000;

export class PreparationMeter {
  readonly #clock: Clock;
  readonly #tell: (reading: PullMeterReading | null) => void;
  #toldAtMs: number | null = null;
  #toldPhase: PullProgress['phase'] | null = null;
  /** Bytes of the parts that are done, so that the sum only rises. */
  #doneBytes = 0;
  #partBytes = 0;
  #samples: { atMs: number; bytes: number }[] = [];

  constructor(clock: Clock, tell: (reading: PullMeterReading | null) => void) {
    this.#clock = clock;
    this.#tell = tell;
  }

  /** The next image or volume begins. */
  beginPart(): void {
    this.#doneBytes += this.#partBytes;
    this.#partBytes = 0;
  }

  /** null: asked, and nothing came yet. */
  push(progress: PullProgress | null): void {
    const nowMs = this.#clock.nowMs();
    if (progress === null) {
      if (this.#toldAtMs === null) this.#report(null, nowMs);
      return;
    }
    this.#partBytes = Math.max(this.#partBytes, progress.receivedBytes);
    const bytes = this.#doneBytes + this.#partBytes;
    this.#sample(nowMs, bytes);
    const isDue = this.#toldAtMs === null || nowMs - this.#toldAtMs >= everyMs;
    if (!isDue && this.#toldPhase === progress.phase) return;
    this.#toldPhase = progress.phase;
    const totalBytes = progress.totalBytes === null ? null : this.#doneBytes + progress.totalBytes;
    const bytesPerSecond = this.#rate();
    this.#report(
      {
        phase: progress.phase,
        receivedBytes: bytes,
        totalBytes,
        bytesPerSecond,
        etaMs: progress.phase === 'pulling' ? etaMs(bytes, totalBytes, bytesPerSecond) : null,
      },
      nowMs,
    );
  }

  #report(reading: PullMeterReading | null, nowMs: number): void {
    this.#toldAtMs = nowMs;
    this.#tell(reading);
  }

  #sample(atMs: number, bytes: number): void {
    const last = this.#samples.at(-1);
    // Ten a second are enough; an engine tells of many more.
    if (last !== undefined && atMs - last.atMs < 100) last.bytes = bytes;
    else this.#samples.push({ atMs, bytes });
    while (this.#samples.length > 2 && atMs - (this.#samples[1]?.atMs ?? atMs) >= rateWindowMs) {
      this.#samples.shift();
    }
  }

  #rate(): number | null {
    const [first] = this.#samples;
    const last = this.#samples.at(-1);
    if (first === undefined || last === undefined || last.atMs - first.atMs < 500) return null;
    return ((last.bytes - first.bytes) * 1000) / (last.atMs - first.atMs);
  }
}

function etaMs(bytes: number, totalBytes: number | null, bytesPerSecond: number | null): number | null {
  if (totalBytes === null || bytesPerSecond === null || bytesPerSecond <= 0) return null;
  return Math.max(0, Math.round(((totalBytes - bytes) * 1000) / bytesPerSecond));
}
