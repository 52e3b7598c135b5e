// One run of PostgreSQL's main process: started or found alive, waited for, stopped.

import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { PostgresPlace } from './postgres-place.ts';
import { findLivingProcess, findProcessesIn, type LivingProcess } from './process-table.ts';

/** `exited` resolves with a few words on how it ended, and never rejects. */
export type Postmaster = {
  pid: number;
  socketFolder: string;
  exited: Promise<string>;
  hasExited(): boolean;
  signal(name: NodeJS.Signals): void;
  /** Lets this process end while PostgreSQL runs on. */
  unref(): void;
};

type SpawnOptions = {
  place: PostgresPlace;
  clusterName: string;
  logFile: string;
  environment: NodeJS.ProcessEnv;
  port: number;
};

/** In a session of its own, so that Ctrl-C in the terminal reaches only us. */
export function spawnPostmaster(options: SpawnOptions): Postmaster {
  const { place, logFile } = options;
  const { file, args, ...identity } = place.command(
    join(place.binFolder, 'postgres'),
    serverArguments(options),
  );
  const log = openSync(logFile, 'a', 0o600);
  try {
    const child = spawn(file, args, {
      ...identity,
      cwd: '/',
      env: options.environment,
      detached: true,
      stdio: ['ignore', log, log],
    });
    return watchChild(child, place.socketFolder);
  } finally {
    closeSync(log);
  }
}

function serverArguments({ place, clusterName, port }: SpawnOptions): string[] {
  const settings = [
    'listen_addresses=',
    `port=${port}`,
    `unix_socket_directories=${place.socketFolder}`,
    'unix_socket_permissions=0700',
    'logging_collector=off',
    'log_destination=stderr',
  ];
  return ['-D', join(place.pgFolder, clusterName), ...settings.flatMap((setting) => ['-c', setting])];
}

function watchChild(child: ChildProcess, socketFolder: string): Postmaster {
  let ending: string | undefined;
  const exited = new Promise<string>((resolve) => {
    const end = (words: string) => {
      ending ??= words;
      resolve(ending);
    };
    child.on('error', (error) => end(`it could not be started: ${error.message}`));
    child.on('exit', (code, signal) => end(signal === null ? `exit code ${code}` : `signal ${signal}`));
  });
  return {
    pid: child.pid ?? 0,
    socketFolder,
    exited,
    hasExited: () => ending !== undefined,
    signal: (name) => void child.kill(name),
    unref: () => child.unref(),
  };
}

/**
 * The PostgreSQL that runs on this cluster already, by its pid file. A pid file that names a process which is not
 * PostgreSQL (the pid was handed out again) is removed, since PostgreSQL would wait for that process for ever.
 */
export function findPostmaster(clusterFolder: string): Postmaster | undefined {
  const pidFile = join(clusterFolder, 'postmaster.pid');
  const lines = readLines(pidFile);
  const found = findLivingProcess(Number(lines[0] ?? 0));
  if (found === undefined) return undefined;
  if (process.platform === 'linux' && !isIn(clusterFolder, found)) {
    if (findProcessesIn([clusterFolder]).length === 0) rmSync(pidFile, { force: true });
    return undefined;
  }
  return watchProcess(found, lines[4] ?? '');
}

function isIn(folder: string, wanted: LivingProcess): boolean {
  return findProcessesIn([folder]).some(({ pid }) => pid === wanted.pid);
}

function readLines(file: string): string[] {
  try {
    return readFileSync(file, 'utf8').split('\n');
  } catch {
    return [];
  }
}

/** Not our child, so its end is seen by looking. */
function watchProcess(found: LivingProcess, socketFolder: string): Postmaster {
  const isAlive = () => findLivingProcess(found.pid)?.startMark === found.startMark;
  let ending: (words: string) => void = () => {};
  const exited = new Promise<string>((resolve) => {
    ending = resolve;
  });
  const timer = setInterval(() => {
    if (isAlive()) return;
    clearInterval(timer);
    ending('it is gone');
  }, 200);
  return {
    pid: found.pid,
    socketFolder,
    exited,
    hasExited: () => !isAlive(),
    signal: (name) => {
      if (isAlive()) process.kill(found.pid, name);
    },
    unref: () => void timer.unref(),
  };
}

/** The backends of a killed main process end by themselves, unless a long statement keeps them. */
export function endOrphanedBackends(clusterFolder: string): void {
  for (const { pid } of findProcessesIn([clusterFolder])) {
    try {
      process.kill(pid, 'SIGQUIT');
    } catch {
      // It ended by itself.
    }
  }
}

/** Fast shutdown with a checkpoint; then immediate; then by force (the next start recovers from the log). */
export async function stopPostmaster(postmaster: Postmaster, clusterFolder: string): Promise<void> {
  const steps: [NodeJS.Signals, number][] = [
    ['SIGINT', 60_000],
    ['SIGQUIT', 10_000],
    ['SIGKILL', 5_000],
  ];
  for (const [signal, limitMs] of steps) {
    postmaster.signal(signal);
    if (await exitsWithin(postmaster, limitMs)) break;
  }
  endOrphanedBackends(clusterFolder);
}

async function exitsWithin(postmaster: Postmaster, limitMs: number): Promise<boolean> {
  const deadline = performance.now() + limitMs;
  while (!postmaster.hasExited() && performance.now() < deadline) await sleep(20);
  return postmaster.hasExited();
}
