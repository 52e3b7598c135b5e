// Processes of a place that outlive what they were for, read from /proc.
import { readdirSync, readFileSync } from 'node:fs';

export interface LeftProcess {
  pid: number;
  commandLine: string;
  /** The shim of a container whose program is gone: an engine that was killed while it started one forgets it. */
  isEmptyShim: boolean;
}

/** Living processes that name the folder on their command line. */
export function processesOf(folder: string): LeftProcess[] {
  const pids = readdirSync('/proc')
    .map(Number)
    .filter((pid) => pid > 0 && pid !== process.pid);
  const parents = new Set(pids.map(parentOf));
  return pids.flatMap((pid) => {
    const commandLine = commandLineOf(pid);
    if (!commandLine.includes(folder)) return [];
    const isShim = commandLine.includes('containerd-shim');
    return [{ pid, commandLine, isEmptyShim: isShim && !parents.has(pid) }];
  });
}

/** Null for what is dead: a zombie has no program any more. */
function parentOf(pid: number): number | null {
  const stat = read(`/proc/${pid}/stat`);
  // proc(5): the program's name stands in parentheses and may contain spaces; state and parent follow it.
  const [state = 'X', parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return 'ZXx'.includes(state) ? null : Number(parent);
}

function commandLineOf(pid: number): string {
  return read(`/proc/${pid}/cmdline`).replaceAll('\0', ' ').trim();
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}
