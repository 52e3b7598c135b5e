// What the machine has used since it started, and what is free now, read from /proc; null: it does not say.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

/** What was used so far; only the difference of two readings means something, save memory, which is of now. */
export interface UsageReading {
  cpuMs: number | null;
  memoryBytes: number | null;
  networkRxBytes: number | null;
  networkTxBytes: number | null;
  diskReadBytes: number | null;
  diskWrittenBytes: number | null;
}

/** Time that a CPU worked, and all its time, in the same unit. */
export interface CoreTime {
  busy: number;
  total: number;
}

export interface MachineReading extends UsageReading {
  cores: CoreTime[];
  memoryFreeBytes: number | null;
  memoryTotalBytes: number | null;
}

export async function readMachine(procRoot = '/proc'): Promise<MachineReading> {
  const read = (name: string) => readFile(join(procRoot, name), 'utf8').catch(() => '');
  const [stat, meminfo, routes, interfaces, disks] = await Promise.all(
    ['stat', 'meminfo', 'net/route', 'net/dev', 'diskstats'].map(read),
  );
  const cores = parseCores(stat ?? '');
  const memory = parseMemory(meminfo ?? '');
  return {
    cores,
    cpuMs: cores.length === 0 ? null : sum(cores.map(({ busy }) => busy)) * tickMs,
    ...memory,
    ...parseInterfaces(interfaces ?? '', parseOutward(routes ?? '')),
    ...parseDisks(disks ?? ''),
  };
}

/** USER_HZ, which Linux fixes at 100 a second for all programs. */
const tickMs = 10;

/** Lines `cpu0 user nice system idle iowait irq softirq steal …`; what another machine took (steal) is no work of ours. */
export function parseCores(stat: string): CoreTime[] {
  return [...stat.matchAll(/^cpu\d+ (.+)$/gm)].map(([, cells = '']) => {
    const [user = 0, nice = 0, system = 0, idle = 0, iowait = 0, irq = 0, softirq = 0, steal = 0] = cells
      .trim()
      .split(/\s+/)
      .map(Number);
    const busy = user + nice + system + irq + softirq;
    return { busy, total: busy + idle + iowait + steal };
  });
}

/** What programs could still have counts as free, caches included. */
export function parseMemory(
  meminfo: string,
): Pick<MachineReading, 'memoryBytes' | 'memoryFreeBytes' | 'memoryTotalBytes'> {
  const bytesOf = (name: string) => {
    const kib = new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(meminfo)?.[1];
    return kib === undefined ? null : Number(kib) * 1024;
  };
  const [total, free] = [bytesOf('MemTotal'), bytesOf('MemAvailable')];
  return {
    memoryTotalBytes: total,
    memoryFreeBytes: free,
    memoryBytes: total === null || free === null ? null : total - free,
  };
}

/** Interfaces that lead out of the machine: those with a default route. */
export function parseOutward(routes: string): Set<string> {
  const cells = routes.split('\n').map((line) => line.split('\t'));
  return new Set(
    cells.flatMap(([name = '', destination]) => (destination === '00000000' ? [name.trim()] : [])),
  );
}

/** Of these interfaces; null where there are none. */
export function parseInterfaces(
  text: string,
  names: ReadonlySet<string>,
): Pick<UsageReading, 'networkRxBytes' | 'networkTxBytes'> {
  const lines = [...text.matchAll(/^\s*([^\s:]+):\s*(.+)$/gm)].flatMap(([, name = '', cells = '']) =>
    names.has(name) ? [cells.split(/\s+/).map(Number)] : [],
  );
  if (lines.length === 0) return { networkRxBytes: null, networkTxBytes: null };
  return {
    networkRxBytes: sum(lines.map(([received = 0]) => received)),
    networkTxBytes: sum(lines.map((cells) => cells[8] ?? 0)),
  };
}

const sectorBytes = 512;
/** Whole disks: their partitions and what is built of them would count twice. */
export const wholeDisk = /^(sd[a-z]+|x?vd[a-z]+|nvme\d+n\d+|mmcblk\d+)$/;

export function parseDisks(text: string): Pick<UsageReading, 'diskReadBytes' | 'diskWrittenBytes'> {
  const disks = text
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(([, , name = '']) => wholeDisk.test(name));
  if (disks.length === 0) return { diskReadBytes: null, diskWrittenBytes: null };
  return {
    diskReadBytes: sum(disks.map((cells) => Number(cells[5]))) * sectorBytes,
    diskWrittenBytes: sum(disks.map((cells) => Number(cells[9]))) * sectorBytes,
  };
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
