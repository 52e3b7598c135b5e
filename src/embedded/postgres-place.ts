// Where PostgreSQL finds its programs, data and socket, and how to run it there as its user.
//
// The plain place is used when that user can reach both. Else, as root, it gets a private mount namespace in which both
// are bound to short folders; where namespaces are refused (a container), the data folder is opened for passing through.

import { spawnSync } from 'node:child_process';
import { chmodSync, cpSync, existsSync, lstatSync, mkdirSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { PostgresBinaries } from './postgres-binaries.ts';
import { giveTo, type PostgresUser } from './postgres-user.ts';
import {
  foreignFolder,
  makeShortFolder,
  removeShortFolder,
  shortFolder,
  sweepShortFolders,
} from './short-folder.ts';

export type PostgresPlace = {
  binFolder: string;
  /** `<data>/pg` as PostgreSQL sees it. */
  pgFolder: string;
  socketFolder: string;
  command(program: string, args: string[]): PlacedCommand;
  /** Takes away the folders made outside the data directory, once PostgreSQL has stopped. */
  remove(): void;
};

export type PlacedCommand = { file: string; args: string[]; uid?: number; gid?: number };

type Options = {
  pgFolder: string;
  binaries: PostgresBinaries;
  user: PostgresUser;
  log: (line: string) => void;
};

/** sun_path of unix(7) holds 107 bytes and an end mark. */
const longestSocketPath = 107;

/** Makes the socket's folder (0700, PostgreSQL's own) and, where needed, the mount points. */
export function preparePostgresPlace(options: Options): PostgresPlace {
  const { binaries, user, pgFolder } = options;
  sweepShortFolders(pgFolder);
  if (!user.isOther || canReach(options)) return plainPlace({ ...options, binRoot: binaries.root });
  if (hasMountNamespaces()) return privatePlace(options);
  return openedPlace(options);
}

function plainPlace(options: Options & { binRoot: string }): PostgresPlace {
  const { user, pgFolder } = options;
  const identity = user.isOther ? { uid: user.uid, gid: user.gid } : {};
  return {
    binFolder: join(options.binRoot, 'bin'),
    pgFolder,
    socketFolder: makeSocketFolder(options),
    command: (file, args) => ({ file, args, ...identity }),
    remove: () => removeShortFolder(shortFolder(pgFolder)),
  };
}

function privatePlace(options: Options): PostgresPlace {
  const { binaries, pgFolder, user } = options;
  const base = makePassableFolder(pgFolder);
  const boundData = join(base, 'pg');
  const boundPrograms = binaries.isMovable ? join(base, 'native') : binaries.root;
  const mounts = binaries.isMovable
    ? [pgFolder, boundData, binaries.root, boundPrograms]
    : [pgFolder, boundData];
  mkdirSync(boundData, { recursive: true });
  mkdirSync(boundPrograms, { recursive: true });
  return {
    binFolder: join(boundPrograms, 'bin'),
    pgFolder: boundData,
    socketFolder: makeOwnFolder(join(base, 'socket'), user),
    command: (file, args) => privateCommand({ mounts, user, program: [file, ...args] }),
    remove: () => removeShortFolder(base),
  };
}

// Every step replaces the one before it, so the process started here becomes PostgreSQL itself.
const enterScript =
  'while [ "$1" != -- ]; do mount --bind "$1" "$2"; shift 2; done; shift; uid=$1 gid=$2; shift 2; ' +
  'exec setpriv --reuid "$uid" --regid "$gid" --clear-groups --inh-caps=-all -- "$@"';

function privateCommand(options: { mounts: string[]; user: PostgresUser; program: string[] }): PlacedCommand {
  const { uid, gid } = options.user;
  const script = ['/bin/sh', '-ec', enterScript, 'sh', ...options.mounts, '--', String(uid), String(gid)];
  return {
    file: 'unshare',
    args: ['--mount', '--propagation', 'slave', '--', ...script, ...options.program],
  };
}

/** Without mount namespaces: pass-through (not list) rights on the data folder, and reachable copies of the programs. */
function openedPlace(options: Options): PostgresPlace {
  const { binaries, pgFolder, user, log } = options;
  const dataFolder = dirname(pgFolder);
  log(`letting user ${user.name} pass through ${dataFolder}, because mount namespaces are not allowed here`);
  chmodSync(dataFolder, statSync(dataFolder).mode | 0o011);
  const copy = join(pgFolder, `binaries-${binaries.version}`);
  if (canReach(options)) return plainPlace({ ...options, binRoot: binaries.root });
  if (!existsSync(join(copy, 'bin')))
    cpSync(binaries.root, copy, { recursive: true, verbatimSymlinks: true });
  const place = plainPlace({ ...options, binRoot: copy });
  if (canReach({ ...options, binaries: { ...binaries, root: copy } })) return place;
  throw new Error(
    `PostgreSQL's user ${user.name} cannot reach ${pgFolder}: a folder above it is closed to other users. ` +
      'Choose another data directory with --data-dir, such as /var/lib/flotilla.',
  );
}

/** Asked of the kernel as that user, since modes alone do not tell of access lists and read-only mounts. */
function canReach({ binaries, pgFolder, user }: Options): boolean {
  const script = 'test -x "$1" && test -r "$2" && test -x "$3"';
  const paths = [join(binaries.root, 'bin', 'postgres'), join(binaries.root, 'share'), pgFolder];
  const checked = binaries.isMovable ? paths : ['/bin/sh', '/', pgFolder];
  const { uid, gid } = user;
  return (
    spawnSync('/bin/sh', ['-c', script, 'sh', ...checked], { uid, gid, cwd: '/', timeout: 5_000 }).status ===
    0
  );
}

function hasMountNamespaces(): boolean {
  const args = ['--mount', '--propagation', 'slave', '--', 'setpriv', '--version'];
  return spawnSync('unshare', args, { timeout: 5_000, stdio: 'ignore' }).status === 0;
}

function makeSocketFolder({ pgFolder, user }: Options): string {
  const beside = join(pgFolder, 'socket');
  const fits = Buffer.byteLength(join(beside, '.s.PGSQL.5432')) <= longestSocketPath;
  if (fits) return makeOwnFolder(beside, user);
  if (!user.isOther) return makeShortFolder(pgFolder);
  return makeOwnFolder(join(makePassableFolder(pgFolder), 'socket'), user);
}

/** Root's own, and open for PostgreSQL's user to pass through. */
function makePassableFolder(pgFolder: string): string {
  const base = makeShortFolder(pgFolder);
  chmodSync(base, 0o711);
  return base;
}

function makeOwnFolder(path: string, user: PostgresUser): string {
  mkdirSync(path, { recursive: true, mode: 0o700 });
  const stats = lstatSync(path);
  if (!stats.isDirectory() || ![user.uid, process.getuid?.()].includes(stats.uid)) throw foreignFolder(path);
  giveTo(user, path);
  chmodSync(path, 0o700);
  return path;
}
