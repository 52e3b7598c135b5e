// Submits, stops and maintenance, as long as there are faults.
import type { Consumer } from './consumer.ts';
import type { Operator } from './operator.ts';
import type { WorkKind } from './work.ts';
import type { World } from './world.ts';

/** Statuses of a job and its newest run that a consumer may stop it in. */
const liveCells = ['ASSIGNED/ASSIGNED', 'ASSIGNED/PREPARING', 'RUNNING/RUNNING'];
const failingCells = ['ASSIGNED/FAILING', 'RUNNING/FAILING', 'PENDING/FAILED'];
/** From what the consumer sees to its stop. */
const reactionMs = 40;

export class Workload {
  readonly #world: World;
  readonly #kind: WorkKind;
  readonly #consumer: Consumer;
  #isOver = false;

  constructor(
    world: World,
    kind: WorkKind,
    { consumer, operator }: { consumer: Consumer; operator: Operator },
  ) {
    this.#world = world;
    this.#kind = kind;
    this.#consumer = consumer;
    const { work } = world.random;
    this.#again(work.pick(kind.submitEveryMs), 'submit', () => consumer.submit(kind.spec(work)));
    this.#again(work.pick(kind.stopEveryMs), 'stop', () => consumer.stopOne());
    this.#again(60_000, 'bulk stop', () => consumer.stopMany());
    this.#again(work.pick(kind.operatorEveryMs), 'operator', () => operator.act(kind.closeShare));
  }

  /** The consumer looks at its jobs, and stops some in the middle of what happens to them. */
  seen(jobId: string, cell: string): void {
    const { live, failing } = this.#kind.stopShares;
    const share = liveCells.includes(cell) ? live : failingCells.includes(cell) ? failing : 0;
    const { work } = this.#world.random;
    if (this.#isOver || share === 0 || !work.chance(share)) return;
    this.#world.later(work.waitMs(reactionMs), {
      process: null,
      what: `stop in ${cell}`,
      run: () => this.#consumer.stop(jobId, null),
    });
  }

  end(): void {
    this.#isOver = true;
  }

  #again(meanMs: number, what: string, act: () => void): void {
    this.#world.later(this.#world.random.work.waitMs(meanMs), {
      process: null,
      what,
      run: () => {
        if (this.#isOver) return;
        act();
        this.#again(meanMs, what, act);
      },
    });
  }
}
