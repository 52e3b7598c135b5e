// The CPUs and disks of the machine, read from /proc/cpuinfo and /sys; what is not told there is left out.
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { HardwareParts } from '../protocol/hardware.ts';
import { wholeDisk } from './machine-load.ts';

type Cpu = HardwareParts['cpus'][number];
type Drive = HardwareParts['hard_drives'][number];

export async function readParts({ procRoot = '/proc', sysRoot = '/sys' } = {}): Promise<HardwareParts> {
  const [cpuinfo, baseKhz, drives] = await Promise.all([
    textOf(join(procRoot, 'cpuinfo')),
    textOf(join(sysRoot, 'devices/system/cpu/cpu0/cpufreq/base_frequency')),
    readDrives(join(sysRoot, 'block')),
  ]);
  const baseMhz = /^\d+\s*$/.test(baseKhz) ? Number(baseKhz) / 1000 : null;
  return { cpus: parseCpus(cpuinfo, baseMhz), hard_drives: drives };
}

const textOf = (path: string) => readFile(path, 'utf8').catch(() => '');

/** What compilers and libraries choose their code by; the hundred others are of no use to a reader. */
const tellingFeatures =
  /^(sse4_[12]|avx\w*|amx\w*|fma|f16c|aes|sha_ni|bmi[12]|vaes|gfni|asimd\w*|sve\w*|bf16|i8mm)$/;

/** One entry a package; `siblings` threads share its `cpu cores`. */
export function parseCpus(cpuinfo: string, baseMhz: number | null): Cpu[] {
  const threads = cpuinfo
    .split(/\n\s*\n/)
    .map(fieldsOf)
    .filter((fields) => fields.has('processor'));
  const packages = Map.groupBy(threads, (fields) => fields.get('physical id') ?? '');
  return [...packages.values()].flatMap((members) => {
    const [first] = members;
    return first === undefined ? [] : [cpuOf(first, { threadCount: members.length, baseMhz })];
  });
}

function cpuOf(
  fields: ReadonlyMap<string, string>,
  { threadCount, baseMhz }: { threadCount: number; baseMhz: number | null },
): Cpu {
  const name = fields.get('model name') ?? fields.get('Processor') ?? 'unknown';
  const cores = Number(fields.get('cpu cores'));
  const words = (fields.get('flags') ?? fields.get('Features') ?? '').split(' ');
  return {
    name: name.slice(0, 256),
    vendor: fields.get('vendor_id')?.slice(0, 64) ?? null,
    num_cores: cores >= 1 ? Math.min(cores, threadCount) : threadCount,
    num_threads: threadCount,
    base_clock_mhz: baseMhz ?? mhzOfName(name),
    features: words.filter((word) => tellingFeatures.test(word)).slice(0, 64),
  };
}

/** Intel's names end in "@ 2.50GHz". The clock of the moment, which cpuinfo has, moves all the time. */
function mhzOfName(name: string): number | null {
  const ghz = /@ (\d+(?:\.\d+)?)GHz/.exec(name)?.[1];
  return ghz === undefined ? null : Math.round(Number(ghz) * 1000);
}

function fieldsOf(block: string): Map<string, string> {
  return new Map(
    [...block.matchAll(/^([^:\n\t]+?)\s*:[ \t]*(.*)$/gm)].map(([, name = '', value = '']) => [
      name,
      value.trim(),
    ]),
  );
}

const sectorBytes = 512;

async function readDrives(folder: string): Promise<Drive[]> {
  const names = await readdir(folder).catch(() => []);
  return Promise.all(
    names
      .filter((name) => wholeDisk.test(name))
      .sort()
      .slice(0, 256)
      .map((name) => readDrive(folder, name)),
  );
}

async function readDrive(folder: string, name: string): Promise<Drive> {
  const [size, model, rotational] = await Promise.all(
    ['size', 'device/model', 'queue/rotational'].map((file) => textOf(join(folder, name, file))),
  );
  return {
    name,
    model: model?.trim().slice(0, 128) || null,
    size_bytes: (Number(size) || 0) * sectorBytes,
    is_rotational: rotational?.trim() === '1',
  };
}
