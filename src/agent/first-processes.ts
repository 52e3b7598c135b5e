// The first process of each container, to signal it without the engine: that takes tens of milliseconds a signal, and a
// hung engine takes none.
import { readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';

export interface FirstProcessesOptions {
  procRoot?: string;
  /** Throws where the process is gone or not ours. */
  kill?: (pid: number, signal: number) => void;
}

export class FirstProcesses {
  readonly #procRoot: string;
  readonly #kill: (pid: number, signal: number) => void;
  readonly #pids = new Map<string, number>();

  constructor({ procRoot = '/proc', kill = process.kill }: FirstProcessesOptions = {}) {
    this.#procRoot = procRoot;
    this.#kill = kill;
  }

  /** What the engine says of a container; its pid is 0 while nothing runs. */
  note(containerId: string, pid: number): void {
    if (pid > 1) this.#pids.set(containerId, pid);
    else this.#pids.delete(containerId);
  }

  /** null: none of it was seen, or it ended. */
  pidOf(containerId: string): number | null {
    return this.#pids.get(containerId) ?? null;
  }

  /** False when it is the engine's turn: no such process of this container here, or a signal that only the engine knows. */
  signal(containerId: string, signalName: string): boolean {
    const pid = this.#pids.get(containerId);
    const number = signalNumber(signalName);
    if (pid === undefined || number === undefined) return false;
    // KILL is sent so once: a container that survives it (a paused one does) is left to the engine.
    if (number === constants.signals.SIGKILL) this.#pids.delete(containerId);
    try {
      // Looked at right before, so that a number that was given to another process since hits nobody.
      const cgroups = readFileSync(join(this.#procRoot, String(pid), 'cgroup'), 'utf8');
      if (!cgroups.includes(containerId)) return false;
      this.#kill(pid, number);
      return true;
    } catch {
      return false;
    }
  }
}

function signalNumber(name: string): number | undefined {
  if (/^\d{1,2}$/.test(name)) return Number(name) || undefined;
  const full = name.toUpperCase().replace(/^(SIG)?/, 'SIG');
  return Object.entries(constants.signals).find(([known]) => known === full)?.[1];
}
