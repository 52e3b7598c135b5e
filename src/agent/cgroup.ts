// The last rung of the stop ladder: what lives in a container's cgroup, counted and killed past an engine that does not.
import { existsSync } from 'node:fs';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

const killRounds = 20;
const roundMs = 50;
/** Engines put containers one to three folders deep; what containers make inside theirs lies deeper. */
const searchDepth = 6;
const placeholder = '{container}';

export class Cgroups {
  readonly #root: string;
  /** Where this engine puts a container's cgroup, with a placeholder for its id: learnt from containers that lived. */
  readonly #layouts = new Set<string>();

  constructor(root = '/sys/fs/cgroup') {
    this.#root = root;
  }

  /** A container of the engine was seen in a cgroup of this machine. */
  get hasSeenOne(): boolean {
    return this.#layouts.size > 0;
  }

  /** `pid` is a living process of the container. */
  async learn(containerId: string, pid: number): Promise<void> {
    const lines = await readFile(`/proc/${pid}/cgroup`, 'utf8').catch(() => '');
    for (const line of lines.split('\n')) {
      const path = line.split(':').slice(2).join(':');
      if (path.includes(containerId)) this.#layouts.add(path.replaceAll(containerId, placeholder));
    }
  }

  /** Kills every process of the container; how many live after it. */
  async kill(containerId: string): Promise<number> {
    const folders = await this.foldersOf(containerId);
    for (let round = 0; round < killRounds; round += 1) {
      const pids = await livingProcesses(folders);
      if (pids.length === 0) return 0;
      // v2 kills the whole group at once, also what forks meanwhile. v1 has no such file, so each process, again; there a
      // paused one dies only when it is thawed.
      await writeEach(folders, 'cgroup.kill', '1');
      for (const pid of pids) kill(pid);
      await writeEach(folders, 'freezer.state', 'THAWED');
      await delay(roundMs);
    }
    return (await livingProcesses(folders)).length;
  }

  /** Folders named after this very container, so that nothing else can be hit. */
  async foldersOf(containerId: string): Promise<string[]> {
    const controllers = ['', ...(await foldersIn(this.#root))].map((name) => join(this.#root, name));
    if (!this.hasSeenOne) {
      const found = await Promise.all(controllers.slice(1).map((folder) => search(folder, containerId, 0)));
      return [...new Set(found.flat())];
    }
    const paths = [...this.#layouts].map((layout) => layout.replaceAll(placeholder, containerId));
    const folders = controllers.flatMap((folder) => paths.map((path) => join(folder, path)));
    // Asked at once: of a container that is gone there is none, and there are as many as controllers.
    return [...new Set(folders)].filter((folder) => existsSync(folder));
  }
}

async function search(folder: string, containerId: string, depth: number): Promise<string[]> {
  if (folder.includes(containerId)) return [folder];
  if (depth === searchDepth) return [];
  const below = await foldersIn(folder);
  const found = await Promise.all(below.map((name) => search(join(folder, name), containerId, depth + 1)));
  return found.flat();
}

async function foldersIn(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  return entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
}

async function writeEach(folders: readonly string[], file: string, text: string): Promise<void> {
  await Promise.all(
    folders.map(async (folder) => {
      // A folder without that file is of another version or controller; "r+" makes none.
      await writeFile(join(folder, file), text, { flag: 'r+' }).catch(() => {});
    }),
  );
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It ended meanwhile.
  }
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
  const below = (await foldersIn(folder)).map((name) => processesBelow(join(folder, name)));
  return [...own, ...(await Promise.all(below)).flat()];
}

/** A zombie still has a pid but is dead. */
async function isLiving(pid: number): Promise<boolean> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => null);
  return stat !== null && stat.slice(stat.lastIndexOf(')') + 2, stat.lastIndexOf(')') + 3) !== 'Z';
}
