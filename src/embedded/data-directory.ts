// The folder that holds everything of one Flotilla machine, and the exclusive hold on it.

import { spawnSync } from 'node:child_process';
import {
  closeSync,
  constants,
  ftruncateSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { findLivingProcess } from './process-table.ts';

export type DataDirectory = { path: string; release(): Promise<void> };

type Holder = { pid: number; start_mark: string; since: string; command: string };

/** Another process holds the data directory; the message says which, since when, and what to do. */
export class DataDirectoryInUse extends Error {
  override name = 'DataDirectoryInUse';
  readonly holderPid: number | undefined;

  constructor(path: string, holder: Holder | undefined) {
    super(describeHolder(path, holder));
    this.holderPid = holder?.pid;
  }
}

export function defaultDataDirectory(): string {
  return process.getuid?.() === 0 ? '/var/lib/flotilla' : join(homedir(), '.flotilla');
}

/** A killed holder's threads may keep its files open for a moment after it counts as dead. */
const dyingLimitMs = 2_000;

/** Creates the folder (0700) if needed and holds it until release or until this process ends, however it ends. */
export async function openDataDirectory(path: string): Promise<DataDirectory> {
  const directory = createDirectory(resolve(path));
  const lockFile = join(directory, 'holder.lock');
  const deadline = performance.now() + dyingLimitMs;
  for (;;) {
    const attempt = holdByKernelLock(directory, lockFile) ?? holdByPidFile(directory, `${lockFile}.pid`);
    if (attempt.isHeld) return { path: directory, release: async () => attempt.release() };
    const isDying = attempt.holder === undefined || !isRunning(attempt.holder);
    if (!isDying || performance.now() > deadline) throw new DataDirectoryInUse(directory, attempt.holder);
    await sleep(20);
  }
}

type Attempt = { isHeld: true; release: () => void } | { isHeld: false; holder: Holder | undefined };

function createDirectory(path: string): string {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
    if (!statSync(path).isDirectory()) throw new Error('it is not a folder');
    return realpathSync(path);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`Cannot use ${path} as data directory: ${reason}. Choose another with --data-dir.`, {
      cause,
    });
  }
}

/**
 * flock(2) belongs to the open file, not to the short-lived `flock` program that takes it for us: the kernel frees it
 * when this process is gone, so there are no stale holds, reused pids or zombies to judge. Undefined without `flock`.
 */
function holdByKernelLock(directory: string, lockFile: string): Attempt | undefined {
  const file = openLockFile(directory, lockFile);
  const attempt = spawnSync('flock', ['-n', '3'], {
    stdio: ['ignore', 'ignore', 'ignore', file],
    timeout: 10_000,
  });
  if (attempt.status === 0) {
    ftruncateSync(file);
    writeSync(file, holderLine(), 0);
    const release = () => {
      ftruncateSync(file);
      closeSync(file);
    };
    return { isHeld: true, release };
  }
  closeSync(file);
  return attempt.status === 1 ? { isHeld: false, holder: readHolder(lockFile) } : undefined;
}

function openLockFile(directory: string, lockFile: string): number {
  try {
    return openSync(lockFile, constants.O_RDWR | constants.O_CREAT, 0o600);
  } catch (cause) {
    throw new Error(
      `Cannot write to the data directory ${directory} as this user; start as its owner or choose another with --data-dir.`,
      { cause },
    );
  }
}

/** Where `flock` is missing (macOS): a pid file, judged by the start of the process it names. */
function holdByPidFile(directory: string, pidFile: string): Attempt {
  const mine = join(directory, `holder.${process.pid}`);
  writeFileSync(mine, holderLine(), { mode: 0o600 });
  try {
    for (;;) {
      if (linkIfFree(mine, pidFile)) return { isHeld: true, release: () => rmSync(pidFile, { force: true }) };
      const holder = readHolder(pidFile);
      if (holder !== undefined && isRunning(holder)) return { isHeld: false, holder };
      discardStale(pidFile, holder);
    }
  } finally {
    rmSync(mine, { force: true });
  }
}

function linkIfFree(mine: string, pidFile: string): boolean {
  try {
    linkSync(mine, pidFile);
    return true;
  } catch (error) {
    if (hasCode(error, 'EEXIST')) return false;
    throw error;
  }
}

/** Moved aside before it goes, and put back when another starter had replaced it between our look and our move. */
function discardStale(pidFile: string, judged: Holder | undefined): void {
  const aside = `${pidFile}.stale-${process.pid}`;
  try {
    renameSync(pidFile, aside);
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return;
    throw error;
  }
  if (readHolder(aside)?.pid !== judged?.pid) linkIfFree(aside, pidFile);
  rmSync(aside, { force: true });
}

function holderLine(): string {
  const holder: Holder = {
    pid: process.pid,
    start_mark: findLivingProcess(process.pid)?.startMark ?? '',
    since: new Date().toISOString(),
    command: process.argv.slice(1).join(' '),
  };
  return `${JSON.stringify(holder)}\n`;
}

function readHolder(file: string): Holder | undefined {
  try {
    const value: Partial<Holder> = JSON.parse(readFileSync(file, 'utf8'));
    if (typeof value.pid !== 'number') return undefined;
    const { pid, start_mark = '', since = 'an unknown time', command = '' } = value;
    return { pid, start_mark, since, command };
  } catch {
    return undefined;
  }
}

function isRunning(holder: Holder): boolean {
  return findLivingProcess(holder.pid)?.startMark === holder.start_mark;
}

function describeHolder(path: string, holder: Holder | undefined): string {
  if (holder === undefined) {
    return `The data directory ${path} is in use by another process; stop it or choose another folder with --data-dir.`;
  }
  const who = `process ${holder.pid}${holder.command === '' ? '' : ` (${holder.command})`}`;
  return (
    `The data directory ${path} is in use by ${who} since ${holder.since}; ` +
    `stop it with "kill ${holder.pid}" or choose another folder with --data-dir.`
  );
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}
