// The server's time, by which requests are signed: the wall clock of this machine until the server says it is wrong.
import type { Clock } from './clock.ts';

/** What an API of Flotilla says when it refuses an upgrade. */
export interface UpgradeRefusal {
  code: string;
  /** The sentence of the error envelope, else the first of the body. */
  message: string;
  /** The server's epoch milliseconds, where it refused for the clock. */
  serverTimeMs: number | null;
}

const maxRefusalLength = 10_000;
const shownLength = 300;

export class ServerClock {
  readonly #clock: Clock;
  /** Server's time minus monotonic time, so that later jumps of the wall clock do not matter; null: not told yet. */
  #offsetMs: number | null = null;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  nowMs(): number {
    return Math.round(this.#offsetMs === null ? this.#clock.wallMs() : this.#clock.nowMs() + this.#offsetMs);
  }

  /** Takes the server's word; how far the wall clock of this machine is ahead of it. */
  learn(serverTimeMs: number): number {
    this.#offsetMs = serverTimeMs - this.#clock.nowMs();
    return Math.round(this.#clock.wallMs() - serverTimeMs);
  }
}

/** Reads the answer to a refused upgrade to its end; never throws. */
export async function readRefusal(response: AsyncIterable<Buffer>): Promise<UpgradeRefusal> {
  let text = '';
  try {
    for await (const chunk of response) {
      text += chunk.toString('utf8');
      if (text.length > maxRefusalLength) break;
    }
    const { error = {} } = JSON.parse(text) as {
      error?: { code?: string; message?: string; details?: unknown };
    };
    const { server_time_ms: serverTimeMs } = (error.details ?? {}) as { server_time_ms?: unknown };
    return {
      code: error.code ?? 'unknown',
      message: error.message ?? text.slice(0, shownLength),
      serverTimeMs: error.code === 'clock_skew' && typeof serverTimeMs === 'number' ? serverTimeMs : null,
    };
  } catch {
    return { code: 'unknown', message: text.slice(0, shownLength), serverTimeMs: null };
  }
}

/** For people: how far this machine's clock is off, and what to do about it. */
export function skewSentence(aheadMs: number): string {
  const minutes = Math.round(Math.abs(aheadMs) / 60_000);
  return (
    `The clock of this machine is ${minutes} minutes ${aheadMs > 0 ? 'ahead of' : 'behind'} the server's; ` +
    "the server's time is used to sign. Set the clock, for example with NTP."
  );
}
