// What a container used so far, read from its cgroup folders (either version) and its network: the engine would take a second to say.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseInterfaces, type UsageReading } from './machine-load.ts';

const files = {
  /** Version 2, then version 1. */
  cpu: ['cpu.stat', 'cpuacct.usage'],
  memory: ['memory.current', 'memory.usage_in_bytes'],
  memoryStat: ['memory.stat'],
  disk: ['io.stat', 'blkio.throttle.io_service_bytes_recursive'],
} as const;

export type CgroupUsage = Omit<UsageReading, 'networkRxBytes' | 'networkTxBytes'>;

/** `folders`: the container's, one a controller in version 1. Null when none of them says anything: it is gone. */
export async function readCgroupUsage(folders: readonly string[]): Promise<CgroupUsage | null> {
  const read = async (names: readonly string[]) => {
    const paths = folders.flatMap((folder) => names.map((name) => join(folder, name)));
    const texts = await Promise.all(paths.map((path) => readFile(path, 'utf8').catch(() => '')));
    return texts.filter((text) => text !== '');
  };
  const [cpu, memory, memoryStat, disk] = await Promise.all([
    read(files.cpu),
    read(files.memory),
    read(files.memoryStat),
    read(files.disk),
  ]);
  if (cpu.length + memory.length === 0) return null;
  return {
    cpuMs: first(cpu, parseCpuMs),
    memoryBytes: workingSet(first(memory, parseCount), first(memoryStat, parseInactive) ?? 0),
    ...(first(disk, parseIo) ?? { diskReadBytes: null, diskWrittenBytes: null }),
  };
}

/** Bytes through the container's network, by a process in it; nulls when that is gone. */
export async function readNetworkUsage(
  pid: number,
  procRoot = '/proc',
): Promise<Pick<UsageReading, 'networkRxBytes' | 'networkTxBytes'>> {
  const text = await readFile(join(procRoot, String(pid), 'net/dev'), 'utf8').catch(() => '');
  const names = [...text.matchAll(/^\s*([^\s:]+):/gm)].map(([, name = '']) => name);
  return parseInterfaces(text, new Set(names.filter((name) => name !== 'lo')));
}

function first<T>(texts: readonly string[], parse: (text: string) => T | null): T | null {
  for (const text of texts) {
    const value = parse(text);
    if (value !== null) return value;
  }
  return null;
}

/** `usage_usec 12` among others in version 2, nanoseconds alone in version 1. */
export function parseCpuMs(text: string): number | null {
  const micros = /^usage_usec (\d+)$/m.exec(text)?.[1];
  if (micros !== undefined) return Number(micros) / 1e3;
  const nanos = parseCount(text);
  return nanos === null ? null : nanos / 1e6;
}

function parseCount(text: string): number | null {
  return /^\d+$/.test(text.trim()) ? Number(text) : null;
}

/** Pages of files that nobody has touched of late: the kernel takes them back before anyone runs out. */
export function parseInactive(text: string): number | null {
  const bytes = /^(?:total_)?inactive_file (\d+)$/m;
  // Version 1 has both words; the total is of the folders below, too.
  const found = /^total_inactive_file (\d+)$/m.exec(text) ?? bytes.exec(text);
  return found === null ? null : Number(found[1]);
}

function workingSet(usedBytes: number | null, inactiveBytes: number): number | null {
  return usedBytes === null ? null : Math.max(0, usedBytes - inactiveBytes);
}

/** `8:0 rbytes=1 wbytes=2 …` a device in version 2, `8:0 Read 1` and `8:0 Write 2` in version 1. */
export function parseIo(text: string): Pick<UsageReading, 'diskReadBytes' | 'diskWrittenBytes'> {
  const total = (pattern: RegExp) =>
    [...text.matchAll(pattern)].reduce((sum, [, bytes]) => sum + Number(bytes), 0);
  return {
    diskReadBytes: total(/^\d+:\d+ (?:.*\brbytes=|Read )(\d+)/gm),
    diskWrittenBytes: total(/^\d+:\d+ (?:.*\bwbytes=|Write )(\d+)/gm),
  };
}
