// PostgreSQL's own log file: bounded in size, and read back when a start fails.

import { closeSync, copyFileSync, fstatSync, openSync, readSync, statSync, truncateSync } from 'node:fs';

/** Two such files at most: the present one and the one before it (`.1`). */
const longestLogBytes = 8 * 1024 * 1024;

/** Writers append, so cutting the file in place is safe while PostgreSQL has it open; a line between copy and cut is lost. */
export function boundLog(file: string): void {
  const stats = statSync(file, { throwIfNoEntry: false });
  if (stats === undefined || stats.size < longestLogBytes) return;
  copyFileSync(file, `${file}.1`);
  truncateSync(file);
}

export function logSize(file: string): number {
  return statSync(file, { throwIfNoEntry: false })?.size ?? 0;
}

/** What was written since `offset`, the last 16 KiB of it at most. */
export function readLogSince(file: string, offset: number): string {
  const descriptor = openSync(file, 'r');
  try {
    const { size } = fstatSync(descriptor);
    const start = Math.max(Math.min(offset, size), size - 16_384);
    const text = Buffer.alloc(size - start);
    readSync(descriptor, text, 0, text.length, start);
    return text.toString();
  } finally {
    closeSync(descriptor);
  }
}
