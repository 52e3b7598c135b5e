// A small JSON file of the agent's own: read once at its start, written whole and atomically at each change.
import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { RuntimeError } from './runtime.ts';

/** What the file held: null when there is none yet, 'unreadable' when it is not JSON. */
export type StateReading = { content: unknown } | 'unreadable' | null;

export interface StateFile {
  read(): StateReading;
  /**
   * Returns when the content is on the disk; throws RuntimeError, and what was there before stands. Not flushed, it
   * outlives the process, but not a crash of the machine.
   */
  write(content: unknown, options?: { isFlushed: boolean }): void;
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
    write(content, { isFlushed } = { isFlushed: true }) {
      try {
        replace(path, `${JSON.stringify(content)}\n`, isFlushed);
      } catch (cause) {
        throw unwritten(path, cause);
      }
    },
  };
}

/** Whole or not at all; flushed also over a crash of the machine: the rename is on the disk when its folder is. */
function replace(path: string, text: string, isFlushed: boolean): void {
  const fresh = `${path}.new`;
  withFile(fresh, 'w', (file) => {
    // Not writeSync, which may write a part and say nothing.
    writeFileSync(file, text);
    if (isFlushed) fsyncSync(file);
  });
  renameSync(fresh, path);
  if (isFlushed) withFile(dirname(path), 'r', fsyncSync);
}

function withFile(path: string, flags: 'r' | 'w', use: (file: number) => void): void {
  const file = openSync(path, flags, 0o600);
  try {
    use(file);
  } finally {
    closeSync(file);
  }
}

function unwritten(path: string, cause: unknown): RuntimeError {
  const { code } = cause as NodeJS.ErrnoException;
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    const message = "The node's disk is full, so its agent could not write its state; free space on it.";
    return new RuntimeError('no_space', message, { cause });
  }
  return new RuntimeError('state_unwritable', `The agent's state cannot be written to ${path}: ${cause}.`, {
    cause,
  });
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
