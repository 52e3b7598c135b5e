// Whether the container engine answers, and which ends of containers its absence explains.
import type { RunError } from '../protocol/agent-messages.ts';
import type { Clock } from './clock.ts';

export interface EngineHealthOptions {
  clock: Clock;
  /** Since the machine started, milliseconds; absent: it never does. */
  uptimeMs?: () => number;
  /** The engine went away, or is back. */
  onChange: () => void;
}

/** How a container ended; times are monotonic. */
export interface ContainerEnd {
  exitCode: number | null;
  isOomKilled: boolean;
  startedAtMs: number | null;
  endedAtMs: number;
}

/** Ends that an engine brings about: TERM, KILL, and what it writes for a container that it finds dead. */
const engineExitCodes: readonly (number | null)[] = [143, 137, 255];
/** Between the engine's stamp of an end and what is seen of the engine itself. */
const slackMs = 1_000;
/** An engine that falls again so soon after it came back is not back. */
const flappingMs = 60_000;
const maxNoteLength = 1_000;

const ways = 'submit the job again, or allow retries with max_retry_count';
export const engineRestarted: RunError = {
  code: 'engine_restarted',
  message: `The container engine of the node was restarted and ended the container with it; ${ways}.`,
};
const nodeRestarted: RunError = {
  code: 'node_restarted',
  message: `The node was restarted while the container ran; ${ways}.`,
};

export class EngineHealth {
  /** Why the engine does not answer, a sentence; null while it does. */
  note: string | null = null;
  readonly #options: EngineHealthOptions;
  /** The last one; `untilMs` null while it lasts. */
  #outage: { sinceMs: number; untilMs: number | null } | null = null;

  constructor(options: EngineHealthOptions) {
    this.#options = options;
  }

  answered(): void {
    if (this.#outage?.untilMs === null) this.#outage.untilMs = this.#options.clock.nowMs();
    this.#become(null);
  }

  /** Its stream of events broke: this is when it went away, should it not answer. */
  brokeOff(): void {
    const nowMs = this.#options.clock.nowMs();
    const last = this.#outage;
    if (last?.untilMs === null) return;
    const isSame = last !== null && nowMs - last.untilMs < flappingMs;
    this.#outage = { sinceMs: isSame ? last.sinceMs : nowMs, untilMs: null };
  }

  failed(error: unknown): void {
    this.brokeOff();
    const text = error instanceof Error ? error.message : String(error);
    this.#become(this.note ?? text.slice(0, maxNoteLength));
  }

  /** The reason of an end that was neither the program's doing nor ours; null where none is known. */
  explain({ exitCode, isOomKilled, startedAtMs, endedAtMs }: ContainerEnd): RunError | null {
    const { clock, uptimeMs } = this.#options;
    if (isOomKilled || !engineExitCodes.includes(exitCode)) return null;
    const ageMs = startedAtMs === null ? 0 : clock.nowMs() - startedAtMs;
    if (uptimeMs !== undefined && ageMs > uptimeMs() + slackMs) return nodeRestarted;
    if (this.#outage === null) return null;
    const { sinceMs, untilMs } = this.#outage;
    const isWithin = endedAtMs >= sinceMs - slackMs && endedAtMs <= (untilMs ?? clock.nowMs()) + slackMs;
    return isWithin ? engineRestarted : null;
  }

  #become(note: string | null): void {
    if (note === this.note) return;
    this.note = note;
    this.#options.onChange();
  }
}
