// A filesystem of a few megabytes that a test fills and frees.
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  fstatSync,
  mkdtempSync,
  openSync,
  rmdirSync,
  rmSync,
  statfsSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';

export interface SmallDisk {
  folder: string;
  /** To the last block, but for `leftBytes`. */
  fill(leftBytes?: number): void;
  free(): void;
  remove(): void;
}

/** An ext4 in a file that takes only what is written; mounted on a folder of its own, and gone with `remove`. */
export function mountSmallDisk(megabytes: number): SmallDisk {
  const folder = mkdtempSync('/tmp/flotilla-disk-');
  const image = `${folder}.img`;
  execFileSync('truncate', [`--size=${megabytes}M`, image]);
  execFileSync('mkfs.ext4', ['-q', '-m', '0', '-O', '^has_journal', image]);
  execFileSync('mount', ['-o', 'loop', image, folder]);
  // Users other than root pass through.
  chmodSync(folder, 0o711);
  const filler = join(folder, 'filler');
  return {
    folder,
    fill: (leftBytes = 0) => fillWith(filler, leftBytes),
    free: () => rmSync(filler, { force: true }),
    remove() {
      // Lazily: what still runs on it keeps it for itself, and nobody else sees it.
      execFileSync('umount', ['-l', folder]);
      rmSync(image);
      rmdirSync(folder);
    },
  };
}

/** Most of it reserved and not written, the last blocks written one by one. */
function fillWith(file: string, leftBytes: number): void {
  const descriptor = openSync(file, 'a');
  try {
    const bytes = freeBytes(file) - leftBytes - lastBytes;
    if (bytes > 0) execFileSync('fallocate', ['--length', String(fstatSync(descriptor).size + bytes), file]);
    for (let size = 1024 * 1024; size >= 4096; )
      if (freeBytes(file) - leftBytes < size || !hasWritten(descriptor, size)) size /= 2;
  } finally {
    closeSync(descriptor);
  }
}

const lastBytes = 4 * 1024 * 1024;

function freeBytes(path: string): number {
  const { bavail, bsize } = statfsSync(path);
  return bavail * bsize;
}

function hasWritten(descriptor: number, size: number): boolean {
  try {
    return writeSync(descriptor, Buffer.alloc(size)) === size;
  } catch {
    return false;
  }
}
