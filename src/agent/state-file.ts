// A small JSON file of the agent's own: read once at its start, written whole and atomically at each change.
import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';

/** What the file held: null when there is none yet, 'unreadable' when it is not JSON. */
export type StateReading = { content: unknown } | 'unreadable' | null;

export interface StateFile {
  read(): StateReading;
  /** Returns when the content is on the disk. */
  write(content: unknown): void;
}

/** Keeps nothing beyond the process: for an agent without a state directory. */
export const noStateFile: StateFile = { read: () => null, write: () => {} };

/** Synchronous, since an order that must not get lost waits for it: some kilobytes, a few times a run at most. */
export function openStateFile(path: string): StateFile {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  return {
    read() {
      const text = readOrNull(path);
      if (text === null) return null;
      try {
        return { content: JSON.parse(text) };
      } catch {
        return 'unreadable';
      }
    },
    write(content) {
      const fresh = `${path}.new`;
      const file = openSync(fresh, 'w', 0o600);
      try {
        writeSync(file, `${JSON.stringify(content)}\n`);
        fsyncSync(file);
      } finally {
        closeSync(file);
      }
      renameSync(fresh, path);
    },
  };
}

function readOrNull(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw new Error(`The agent's state cannot be read from ${path}; make it readable for this user.`, {
      cause: error,
    });
  }
}
