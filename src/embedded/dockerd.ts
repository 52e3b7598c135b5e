// Starts the Docker Engine: systemd's service where systemd runs, else a dockerd in a session of its own.

import { execFile, spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import { findLivingProcess } from './process-table.ts';
import { findProgram, systemFolders } from './program.ts';

export type StartedEngine = { description: string; hasExited(): boolean; readProblem(): string };

const run = promisify(execFile);

export async function startDockerService(): Promise<StartedEngine> {
  const service = {
    description: 'systemctl start docker',
    hasExited: () => false,
    readProblem: () => 'see "journalctl -u docker".',
  };
  try {
    await run('systemctl', ['start', 'docker'], { timeout: 60_000 });
    return service;
  } catch (cause) {
    throw new Error('"systemctl start docker" failed; see "journalctl -u docker".', { cause });
  }
}

/** With live-restore, so that containers outlive it; on the default paths, so that the docker command finds it. */
export function startDockerd(options: { logFile: string; env: NodeJS.ProcessEnv }): StartedEngine {
  const { logFile, env } = options;
  const program = findProgram('dockerd', env) ?? 'dockerd';
  removeStalePidFiles(['/var/run/docker.pid', '/var/run/docker/containerd/containerd.pid']);
  mkdirSync(dirname(logFile), { recursive: true, mode: 0o700 });
  const log = openSync(logFile, 'a', 0o600);
  let ending: string | undefined;
  try {
    const child = spawn(program, ['--live-restore'], {
      cwd: '/',
      env: dockerdEnvironment(env),
      detached: true,
      stdio: ['ignore', log, log],
    });
    child.on('error', (error) => {
      ending = error.message;
    });
    child.on('exit', (code) => {
      ending = `dockerd ended with exit code ${code}`;
    });
    child.unref();
    return {
      description: `dockerd --live-restore, pid ${child.pid}, its log: ${logFile}`,
      hasExited: () => ending !== undefined,
      readProblem: () => `${ending ?? 'it does not answer'}; ${lastLine(logFile)} (its log: ${logFile})`,
    };
  } finally {
    closeSync(log);
  }
}

/** It calls iptables, modprobe and hooks by name; nothing else of the caller's but proxies is for it. */
function dockerdEnvironment(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const proxies = Object.entries(env).filter(([name]) => /^(https?|no)_proxy$/i.test(name));
  const path = [...(env.PATH ?? '').split(':'), ...systemFolders].filter((folder) => folder !== '');
  return { ...Object.fromEntries(proxies), PATH: [...new Set(path)].join(':') };
}

/** After a kill, dockerd takes the pid of a zombie or of another program for a running engine and gives up. */
function removeStalePidFiles(files: string[]): void {
  for (const file of files) {
    const pid = readPid(file);
    if (pid !== undefined && !isEngine(pid)) rmSync(file, { force: true });
  }
}

function readPid(file: string): number | undefined {
  try {
    return Number(readFileSync(file, 'utf8').trim());
  } catch {
    return undefined;
  }
}

function isEngine(pid: number): boolean {
  if (findLivingProcess(pid) === undefined) return false;
  try {
    return /dockerd|containerd/.test(readFileSync(`/proc/${pid}/comm`, 'utf8'));
  } catch {
    return false;
  }
}

function lastLine(file: string): string {
  return readFileSync(file, 'utf8').trimEnd().split('\n').at(-1) ?? '';
}
