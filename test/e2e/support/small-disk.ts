// A filesystem of a few megabytes that a test fills and frees.
import { execFileSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmdirSync, rmSync, statfsSync, writeSync } from 'node:fs';
import { join } from 'node:path';

export interface SmallDisk {
  folder: string;
  /** To the last block, but for `leftBytes`. */
  fill(leftBytes?: number): void;
  free(): void;
  remove(): void;
}

/** In memory, mounted on a folder of its own, and gone with `remove`. */
export function mountSmallDisk(megabytes: number): SmallDisk {
  const folder = mkdtempSync('/tmp/flotilla-disk-');
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m,mode=0711`, 'tmpfs', folder]);
  const filler = join(folder, 'filler');
  return {
    folder,
    fill: (leftBytes = 0) => fillWith(filler, leftBytes),
    free: () => rmSync(filler, { force: true }),
    // Lazily: what still runs on it keeps it for itself, and nobody else sees it.
    remove() {
      execFileSync('umount', ['-l', folder]);
      rmdirSync(folder);
    },
  };
}

function fillWith(file: string, leftBytes: number): void {
  const descriptor = openSync(file, 'a');
  try {
    for (let size = 1024 * 1024; size >= 4096; ) {
      const { bavail, bsize } = statfsSync(file);
      if (bavail * bsize - leftBytes < size || !hasWritten(descriptor, size)) size /= 2;
    }
  } finally {
    closeSync(descriptor);
  }
}

function hasWritten(descriptor: number, size: number): boolean {
  try {
    return writeSync(descriptor, Buffer.alloc(size)) === size;
  } catch {
    return false;
  }
}
