// Tells living processes from dead, zombie and reused ones.

import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, statSync } from 'node:fs';

/** A process that runs now; the pair stays unique even when the kernel hands the pid out again. */
export type LivingProcess = { pid: number; startMark: string };

/** The process behind a pid, or undefined when there is none or only its zombie is left (`kill(pid, 0)` cannot tell). */
export function findLivingProcess(pid: number): LivingProcess | undefined {
  return process.platform === 'linux' ? findInProc(pid) : findWithPs(pid);
}

/** Living processes whose working directory is one of these; compared by inode, so mount namespaces do not matter. Linux only. */
export function findProcessesIn(directories: string[]): LivingProcess[] {
  if (process.platform !== 'linux') return [];
  const wanted = new Set(directories.map(inodeOf).filter((inode) => inode !== undefined));
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((name) => wanted.has(inodeOf(`/proc/${name}/cwd`) ?? ''))
    .map((name) => findLivingProcess(Number(name)))
    .filter((found) => found !== undefined);
}

function inodeOf(path: string): string | undefined {
  try {
    const { dev, ino } = statSync(path);
    return `${dev}:${ino}`;
  } catch {
    return undefined;
  }
}

function findInProc(pid: number): LivingProcess | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  } catch {
    return undefined;
  }
  // proc(5): the program's name stands in parentheses and may contain spaces; state is field 3, start time field 22.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const state = fields[0] ?? 'X';
  return 'ZXx'.includes(state) ? undefined : { pid, startMark: fields[19] ?? '' };
}

function findWithPs(pid: number): LivingProcess | undefined {
  try {
    const line = execFileSync('ps', ['-o', 'stat=,lstart=', '-p', String(pid)], {
      encoding: 'utf8',
      timeout: 5_000,
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
    const [state = '', ...start] = line.split(/\s+/);
    return state === '' || state.startsWith('Z') ? undefined : { pid, startMark: start.join(' ') };
  } catch {
    return undefined;
  }
}
