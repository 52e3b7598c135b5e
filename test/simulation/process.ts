// A simulated process: it lives, is paused as by SIGSTOP, or was killed; its clocks run by its own rate.
import type { Clock } from '../../src/agent/clock.ts';
import type { EventOwner, WorldEvent } from './event-heap.ts';
import { epochMs, type World } from './world.ts';

/** The clocks of a machine: its processes come and go, its clock stays. */
export interface MachineTime {
  /** Seconds of the machine for a second of the world. */
  rate: number;
  /** Added to the wall clock; jumps when someone sets it. */
  wallOffsetMs: number;
}

export class SimulatedProcess implements EventOwner {
  readonly name: string;
  readonly clock: Clock;
  isAlive = true;
  isPaused = false;
  readonly #world: World;
  readonly #endings: (() => void)[] = [];
  #held: WorldEvent[] = [];
  #pausedAtMs = 0;

  constructor(world: World, options: { name: string; time: MachineTime }) {
    const { time } = options;
    this.name = options.name;
    this.#world = world;
    this.clock = {
      nowMs: () => world.nowMs * time.rate,
      wallMs: () => epochMs + world.nowMs + time.wallOffsetMs,
      after: (delayMs, task) =>
        world.later(delayMs / time.rate, { process: this, what: `timer ${delayMs.toFixed(0)}`, run: task }),
    };
  }

  hold(event: WorldEvent): void {
    this.#held.push(event);
  }

  get pausedForMs(): number {
    return this.isPaused ? this.#world.nowMs - this.#pausedAtMs : 0;
  }

  pause(): void {
    this.isPaused = true;
    this.#pausedAtMs = this.#world.nowMs;
  }

  resume(): void {
    this.isPaused = false;
    const held = this.#held;
    this.#held = [];
    this.#world.release(held);
  }

  /** kill -9: nothing of it happens any more, and the system closes what it had open. */
  kill(): void {
    if (!this.isAlive) return;
    this.isAlive = false;
    this.#held = [];
    for (const end of this.#endings) end();
  }

  onKill(end: () => void): void {
    this.#endings.push(end);
  }
}
