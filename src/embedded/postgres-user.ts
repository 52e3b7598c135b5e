// Chooses the system user that PostgreSQL runs as: it refuses to run as root.

import { execFileSync } from 'node:child_process';
import { chownSync, statSync } from 'node:fs';
import { userInfo } from 'node:os';

/** `isOther`: not the user this process runs as, so files must be given to it. */
export type PostgresUser = { uid: number; gid: number; name: string; isOther: boolean };

/** The owner of the existing cluster folder; else, as root, `postgres` or `nobody`; else the present user. */
export function choosePostgresUser(clusterFolder: string): PostgresUser {
  const self = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
  if (self.uid !== 0) return { ...self, name: nameOfSelf(self.uid), isOther: false };
  const owner = ownerOf(clusterFolder);
  const chosen = owner ?? findUser('postgres') ?? findUser('nobody');
  if (chosen !== undefined) return { ...chosen, isOther: true };
  throw new Error(
    'PostgreSQL does not run as root and there is neither a user "postgres" nor "nobody"; ' +
      'create one (useradd --system postgres), or set DATABASE_URL to a server of your own.',
  );
}

/** Gives a file or folder to PostgreSQL's user where that is not the present one. */
export function giveTo(user: PostgresUser, path: string): void {
  if (user.isOther) chownSync(path, user.uid, user.gid);
}

function nameOfSelf(uid: number): string {
  try {
    return userInfo().username;
  } catch (cause) {
    throw new Error(
      `The user id ${uid} has no entry in /etc/passwd, and PostgreSQL refuses to run as such a user; ` +
        'start as a named user, or set DATABASE_URL to a server of your own.',
      { cause },
    );
  }
}

function ownerOf(folder: string): { uid: number; gid: number; name: string } | undefined {
  const stats = statSync(folder, { throwIfNoEntry: false });
  if (stats === undefined || stats.uid === 0) return undefined;
  const name = askId(['-un', String(stats.uid)]);
  if (name !== undefined) return { uid: stats.uid, gid: stats.gid, name };
  throw new Error(
    `The folder ${folder} belongs to user id ${stats.uid}, which has no entry in /etc/passwd; ` +
      'create that user, or give the folder to another one with chown -R.',
  );
}

function findUser(name: string): { uid: number; gid: number; name: string } | undefined {
  const uid = askId(['-u', name]);
  const gid = askId(['-g', name]);
  return uid === undefined || gid === undefined ? undefined : { uid: Number(uid), gid: Number(gid), name };
}

function askId(args: string[]): string | undefined {
  try {
    return execFileSync('id', args, {
      encoding: 'utf8',
      timeout: 5_000,
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
  } catch {
    return undefined;
  }
}
