// Finds the machine's Docker Engine; on Debian and Ubuntu, as root, installs and starts one where none is.

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { installPackages } from './debian-packages.ts';
import { isDockerAlive } from './docker-socket.ts';
import { startDockerd, startDockerService } from './dockerd.ts';
import { findProgram } from './program.ts';

export type DockerEngine = { socketPath: string };

type Environment = NodeJS.ProcessEnv;

/** No Docker Engine answers and none can be started here; `command` is what to run. */
export class DockerEngineMissing extends Error {
  override name = 'DockerEngineMissing';
  readonly command: string;

  constructor(reason: string, command: string) {
    super(`${reason} Run: ${command}`);
    this.command = command;
  }
}

const defaultSocket = '/var/run/docker.sock';
const startLimitMs = 30_000;

/** Finds a living engine or gets one going. One that is started here outlives this process and is never stopped by us. */
export async function ensureDockerEngine(options: {
  dataDirectory: string;
  log: (line: string) => void;
  env: Environment;
}): Promise<DockerEngine> {
  const { env, log, dataDirectory } = options;
  const found = await findDockerEngine({ env });
  if (found !== undefined) return found;
  refuseIfNamed(env);
  refuseIfNotOurs(env);
  if (findProgram('dockerd', env) === undefined) {
    await installPackages({ packages: ['docker.io', 'iptables'], log });
    // Where systemd or another supervisor runs, the package may have started it.
    if (await isDockerAlive(defaultSocket)) return { socketPath: defaultSocket };
  }
  const logFile = join(dataDirectory, 'docker', 'dockerd.log');
  const how = existsSync('/run/systemd/system') ? await startDockerService() : startDockerd({ logFile, env });
  log(`starting the Docker Engine (${how.description})`);
  await waitUntilAlive(how);
  return { socketPath: defaultSocket };
}

/** The first engine that answers: DOCKER_HOST alone when it is set, else the usual sockets of Docker, then of Podman. */
export async function findDockerEngine(options: { env: Environment }): Promise<DockerEngine | undefined> {
  for (const socketPath of dockerSocketCandidates(options.env)) {
    if (existsSync(socketPath) && (await isDockerAlive(socketPath))) return { socketPath };
  }
  return undefined;
}

/** Where to look, in order. Throws for a DOCKER_HOST that is no unix socket. */
export function dockerSocketCandidates(env: Environment): string[] {
  const named = env.DOCKER_HOST;
  if (named !== undefined && named !== '') {
    if (named.startsWith('unix://')) return [named.slice('unix://'.length)];
    throw new Error(
      `DOCKER_HOST is ${named}, but Flotilla's node talks to an engine of its own machine; set it to unix:///path or unset it.`,
    );
  }
  const userFolder = env.XDG_RUNTIME_DIR;
  const ofUser = (name: string) => (userFolder ? [join(userFolder, name)] : []);
  return [
    defaultSocket,
    '/run/docker.sock',
    ...ofUser('docker.sock'),
    '/run/podman/podman.sock',
    ...ofUser('podman/podman.sock'),
  ];
}

function refuseIfNamed(env: Environment): void {
  const named = env.DOCKER_HOST;
  if (!named) return;
  throw new DockerEngineMissing(
    `No Docker Engine answers at DOCKER_HOST=${named}; start it, or let Flotilla look at the usual places.`,
    'unset DOCKER_HOST',
  );
}

function refuseIfNotOurs(env: Environment): void {
  const isRoot = process.getuid?.() === 0;
  const isInstalled = findProgram('dockerd', env) !== undefined;
  const isDebian = isDebianLike(readOsRelease());
  if (isRoot && (isInstalled || isDebian)) return;
  throw engineMissing({ isRoot, isInstalled, isDebian, hasSocket: existsSync(defaultSocket) });
}

/** What to tell the person, by what kind of machine this is. */
export function engineMissing(machine: {
  isRoot: boolean;
  isInstalled: boolean;
  isDebian: boolean;
  hasSocket: boolean;
}): DockerEngineMissing {
  const sudo = machine.isRoot ? '' : 'sudo ';
  if (machine.hasSocket && !machine.isRoot) {
    return new DockerEngineMissing(
      `The Docker Engine at ${defaultSocket} does not answer this user; the engine may be stopped, or the user not in the group "docker".`,
      'sudo systemctl start docker; sudo usermod -aG docker "$USER" (then log in again)',
    );
  }
  if (machine.isInstalled) {
    return new DockerEngineMissing(
      'The Docker Engine is installed but does not run.',
      `${sudo}systemctl start docker`,
    );
  }
  const install = machine.isDebian
    ? `${sudo}apt-get update && ${sudo}apt-get install -y docker.io iptables && ${sudo}usermod -aG docker "$USER"`
    : `curl -fsSL https://get.docker.com | ${sudo}sh`;
  return new DockerEngineMissing('Flotilla runs jobs in containers and found no Docker Engine.', install);
}

/** By the ID and ID_LIKE lines of os-release(5). */
export function isDebianLike(osRelease: string): boolean {
  return osRelease.split('\n').some((line) => /^ID(_LIKE)?=.*\b(debian|ubuntu)\b/.test(line));
}

function readOsRelease(): string {
  try {
    return readFileSync('/etc/os-release', 'utf8');
  } catch {
    return '';
  }
}

async function waitUntilAlive(how: { hasExited(): boolean; readProblem(): string }): Promise<void> {
  const deadline = performance.now() + startLimitMs;
  while (!(await isDockerAlive(defaultSocket))) {
    if (how.hasExited() || performance.now() > deadline) {
      throw new Error(`The Docker Engine does not start: ${how.readProblem()}`);
    }
    await sleep(50);
  }
}
