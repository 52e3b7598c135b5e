// Events of the engine, and the exit codes in them: an engine that is killed right after an exit may remember another code.
import { type ContainerState, labelNames } from './runtime.ts';

export interface ContainerEvent {
  runUuid: string;
  containerId: string;
  /** Only where the event tells of its end. */
  exitCode: number | null;
}

/** One line of the engine's events; null: not of a run. */
export function readContainerEvent(line: string): ContainerEvent | null {
  try {
    const event = JSON.parse(line) as {
      Action?: string;
      Actor?: { ID?: string; Attributes?: Record<string, string> };
    };
    const { ID: containerId, Attributes: attributes } = event.Actor ?? {};
    const runUuid = attributes?.[labelNames.run];
    if (containerId === undefined || runUuid === undefined) return null;
    const exitCode = event.Action === 'die' ? Number(attributes?.exitCode ?? Number.NaN) : Number.NaN;
    return { runUuid, containerId, exitCode: Number.isInteger(exitCode) ? exitCode : null };
  } catch {
    return null;
  }
}

/** Far more containers than end between two looks at them. */
const maxKept = 1_000;

/** The first word on an exit is the one from when it happened: it stands, whatever the engine says after a restart. */
export class SeenExits {
  readonly #codes = new Map<string, number>();

  note({ containerId, exitCode }: ContainerEvent): void {
    if (exitCode === null || this.#codes.has(containerId)) return;
    this.#codes.set(containerId, exitCode);
    const [oldest] = this.#codes.keys();
    if (this.#codes.size > maxKept && oldest !== undefined) this.#codes.delete(oldest);
  }

  correct(state: ContainerState): ContainerState {
    const exitCode = this.#codes.get(state.containerId);
    return exitCode === undefined || state.state !== 'exited' ? state : { ...state, exitCode };
  }
}
