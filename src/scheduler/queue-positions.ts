// Places in line, asked of whichever replica leads and answered by hints: the leader alone keeps the line.
import type { Hints } from '../db/hints.ts';
import type { Timers } from '../domain/timers.ts';

export interface QueuePositionsOptions {
  hints: Hints;
  timers: Timers;
  /** This replica leads. */
  isLeader: () => boolean;
  /** Its own answer; null: the job is not in line. */
  positionOf: (jobId: string) => number | null;
}

/** Two hints there and back take some 20 ms; without an answer by then nobody leads. */
const patienceMs = 200;

export class QueuePositions {
  readonly #options: QueuePositionsOptions;
  readonly #asked = new Map<
    string,
    { answer: Promise<number | null>; resolve: (position: number | null) => void }
  >();

  constructor(options: QueuePositionsOptions) {
    this.#options = options;
    const { hints, isLeader, positionOf } = options;
    hints.subscribe((hint) => {
      if (hint.kind === 'position') this.#asked.get(hint.jobId)?.resolve(hint.position);
      if (hint.kind !== 'position_asked' || !isLeader()) return;
      hints.publish({ kind: 'position', jobId: hint.jobId, position: positionOf(hint.jobId) });
    });
  }

  /** 1 for the PENDING job that goes first, as of the leader's last pass; null when it is not in line or nobody leads. */
  get(jobId: string): Promise<number | null> {
    const { isLeader, positionOf } = this.#options;
    if (isLeader()) return Promise.resolve(positionOf(jobId));
    return this.#asked.get(jobId)?.answer ?? this.#ask(jobId);
  }

  #ask(jobId: string): Promise<number | null> {
    const { hints, timers } = this.#options;
    const { promise: answer, resolve } = Promise.withResolvers<number | null>();
    const cancel = timers.after(patienceMs, () => resolve(null));
    this.#asked.set(jobId, { answer, resolve });
    hints.publish({ kind: 'position_asked', jobId });
    return answer.finally(() => {
      cancel();
      this.#asked.delete(jobId);
    });
  }
}
