// The last rung of the stop ladder: kills what lives in a container's cgroup, past an engine that does not.
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

const root = '/sys/fs/cgroup';
const killRounds = 20;
const roundMs = 50;

/** How many processes still live after it. `pid` is the container's first process, 0 if unknown. */
export async function killCgroupProcesses(container: { containerId: string; pid: number }): Promise<number> {
  const folders = await cgroupFolders(container);
  for (let round = 0; round < killRounds; round += 1) {
    const pids = await livingProcesses(folders);
    if (pids.length === 0) return 0;
    // v2 kills the whole group at once, also what forks meanwhile; v1 has no such file, so each process, again.
    await Promise.all(folders.map((folder) => writeFile(join(folder, 'cgroup.kill'), '1').catch(() => {})));
    for (const pid of pids) kill(pid);
    await delay(roundMs);
  }
  return (await livingProcesses(folders)).length;
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It ended meanwhile.
  }
}

/** Folders named after this very container, so that nothing else can be hit. */
async function cgroupFolders({ containerId, pid }: { containerId: string; pid: number }): Promise<string[]> {
  const controllers = ['', ...(await readdir(root).catch(() => []))];
  const guesses = controllers.flatMap((controller) => [
    join(root, controller, 'docker', containerId),
    join(root, controller, 'system.slice', `docker-${containerId}.scope`),
  ]);
  const own = pid > 0 ? await readFile(`/proc/${pid}/cgroup`, 'utf8').catch(() => '') : '';
  const stated = own.split('\n').flatMap((line) => {
    const path = line.split(':').slice(2).join(':');
    return path.includes(containerId) ? controllers.map((controller) => join(root, controller, path)) : [];
  });
  return [...new Set([...guesses, ...stated])];
}

async function livingProcesses(folders: readonly string[]): Promise<number[]> {
  const pids = new Set<number>();
  for (const folder of folders) {
    for (const pid of await processesBelow(folder)) pids.add(pid);
  }
  const living = await Promise.all([...pids].map(async (pid) => ((await isLiving(pid)) ? [pid] : [])));
  return living.flat();
}

async function processesBelow(folder: string): Promise<number[]> {
  const text = await readFile(join(folder, 'cgroup.procs'), 'utf8').catch(() => null);
  if (text === null) return [];
  const own = text
    .split('\n')
    .map(Number)
    .filter((pid) => pid > 1);
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  const below = entries
    .filter((entry) => entry.isDirectory())
    .map((entry) => processesBelow(join(folder, entry.name)));
  return [...own, ...(await Promise.all(below)).flat()];
}

/** A zombie still has a pid but is dead. */
async function isLiving(pid: number): Promise<boolean> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => null);
  return stat !== null && stat.slice(stat.lastIndexOf(')') + 2, stat.lastIndexOf(')') + 3) !== 'Z';
}
