// Short folders for sockets and mounts outside the data directories, one for each, and what killed programs left of them.

import { createHash } from 'node:crypto';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

/** In each short folder: whose it is. */
const ownerFile = 'owner';
const socketName = '.s.PGSQL.5432';

/** The same for every start on this data directory, so that a living PostgreSQL is found again. */
export function shortFolder(pgFolder: string): string {
  const hash = createHash('sha256').update(pgFolder).digest('hex').slice(0, 12);
  const runtimeFolder = isRoot() ? '/run' : process.env.XDG_RUNTIME_DIR;
  const isUsable = runtimeFolder !== undefined && runtimeFolder.length < 60 && existsSync(runtimeFolder);
  const parent = isUsable ? runtimeFolder : tmpdir().length < 60 ? tmpdir() : '/tmp';
  return join(parent, `${namePrefix()}${hash}`);
}

/** Under /tmp anybody can make a folder of this name first; such a one is refused, not used. */
export function makeShortFolder(pgFolder: string): string {
  const path = shortFolder(pgFolder);
  mkdirSync(path, { recursive: true, mode: 0o700 });
  if (!isOurs(path)) throw foreignFolder(path);
  writeFileSync(join(path, ownerFile), `${pgFolder}\n`, { mode: 0o600 });
  return path;
}

/** Once PostgreSQL has stopped. Only what this program made goes: a mount that is still in place keeps its folder. */
export function removeShortFolder(path: string): void {
  removeEmpty(['pg', 'native', 'socket'].map((name) => join(path, name)));
  if (namesIn(path).some((name) => name !== ownerFile)) return;
  rmSync(join(path, ownerFile), { force: true });
  removeEmpty([path]);
}

/** Removes short folders of data directories that are gone: their PostgreSQL was killed, and never started again. */
export function sweepShortFolders(pgFolder: string): void {
  const parent = dirname(shortFolder(pgFolder));
  const ofOurs = new RegExp(`^${namePrefix()}[0-9a-f]{12}$`);
  for (const name of namesIn(parent)) {
    const path = join(parent, name);
    if (!ofOurs.test(name) || !isOurs(path) || !isLeftBehind(path)) continue;
    for (const folder of [path, join(path, 'socket')])
      for (const file of [socketName, `${socketName}.lock`]) rmSync(join(folder, file), { force: true });
    removeShortFolder(path);
  }
}

export function foreignFolder(path: string): Error {
  return new Error(`The folder ${path} belongs to another user; remove it, then start again.`);
}

function isLeftBehind(path: string): boolean {
  const owner = readText(join(path, ownerFile)).trim();
  if (owner === '' || existsSync(owner)) return false;
  // Its data directory may lie where only it can see it.
  return !readText('/proc/net/unix').includes(`${path}/`);
}

function isOurs(path: string): boolean {
  const stats = lstatSync(path, { throwIfNoEntry: false });
  return stats?.isDirectory() === true && stats.uid === process.getuid?.();
}

function namePrefix(): string {
  return isRoot() ? 'flotilla-' : `flotilla-${process.getuid?.()}-`;
}

function isRoot(): boolean {
  return process.getuid?.() === 0;
}

/** Another start may be removing it at this moment. */
function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}

function removeEmpty(folders: string[]): void {
  for (const folder of folders) {
    try {
      rmdirSync(folder);
    } catch {
      // Not made by this place, or still in use.
    }
  }
}
