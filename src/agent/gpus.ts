// The node's GPUs as nvidia-smi tells them, or a sentence why they cannot be read.
import type { GpuInventory } from '../protocol/agent-messages.ts';
import type { NvidiaSmi } from './nvidia-smi.ts';

export interface GpuReading {
  gpus: GpuInventory[];
  note: string | null;
}

export interface MachineMemory {
  ramMib: number;
}

/** No GPUs and no note on a machine without nvidia-smi. */
export async function readGpus(smi: NvidiaSmi, memory: MachineMemory): Promise<GpuReading> {
  const answer = await smi.ask('--query-gpu=index,uuid,name,memory.total,driver_version');
  if (answer.kind === 'absent') return { gpus: [], note: null };
  if (answer.kind === 'failed') return { gpus: [], note: answer.why };
  const reading = parseGpus(answer.text, memory);
  return reading.gpus.length === 0 ? reading : withoutMig(reading, await readMigUuids(smi));
}

/** Lines of `index, uuid, name, MiB, driver`; a line that does not fit is named in the note, the others count. */
export function parseGpus(text: string, memory: MachineMemory): GpuReading {
  const lines = text.split('\n').filter((line) => line.trim() !== '');
  const gpus: GpuInventory[] = [];
  const bad: string[] = [];
  for (const line of lines) {
    const gpu = parseGpu(line, memory);
    const isNew = gpu !== null && !gpus.some(({ uuid }) => uuid === gpu.uuid);
    if (isNew) gpus.push(gpu);
    else bad.push(line.trim().slice(0, 120));
  }
  const note =
    bad.length === 0 ? null : `nvidia-smi told of GPUs that cannot be used: ${bad.join('; ').slice(0, 800)}`;
  return { gpus, note };
}

function parseGpu(line: string, memory: MachineMemory): GpuInventory | null {
  const cells = line.split(',').map((cell) => cell.trim());
  const [index = '', uuid = '', name = '', vram = '', driver = ''] = cells;
  const vramMib = vramOf(vram, memory);
  const isWhole = /^\d+$/.test(index) && /^[\w-]{4,128}$/.test(uuid) && /^\w/.test(name) && vramMib !== null;
  if (!isWhole || cells.length > 5) return null;
  return {
    index: Number(index),
    uuid,
    name: name.slice(0, 256),
    vram_mib: vramMib,
    driver_version: driver === '' || driver.startsWith('[') ? null : driver.slice(0, 64),
  };
}

/** A GPU without memory of its own (GB10, Jetson) uses the machine's; an error is told in other words than these. */
function vramOf(cell: string, { ramMib }: MachineMemory): number | null {
  if (/^\d+$/.test(cell)) return Number(cell);
  return cell === '[N/A]' || cell === '[Not Supported]' ? ramMib : null;
}

/** Drivers that know no MIG refuse the question. */
async function readMigUuids(smi: NvidiaSmi): Promise<Set<string>> {
  const answer = await smi.ask('--query-gpu=uuid,mig.mode.current');
  return answer.kind === 'text' ? parseMigUuids(answer.text) : new Set();
}

/** Of the GPUs in MIG mode. */
export function parseMigUuids(text: string): Set<string> {
  const cells = text.split('\n').map((line) => line.split(',').map((cell) => cell.trim()));
  return new Set(cells.flatMap(([uuid = '', mode]) => (mode === 'Enabled' ? [uuid] : [])));
}

/** A program sees of such a GPU only the instances made of it, which are not placed. */
export function withoutMig({ gpus, note }: GpuReading, migUuids: ReadonlySet<string>): GpuReading {
  const inMigMode = gpus.filter(({ uuid }) => migUuids.has(uuid));
  const notes = inMigMode.map(
    ({ index }) =>
      `GPU ${index} is in MIG mode, in which jobs cannot use it; end that with "nvidia-smi -i ${index} -mig 0".`,
  );
  const all = note === null ? notes : [note, ...notes];
  return {
    gpus: gpus.filter(({ uuid }) => !migUuids.has(uuid)),
    note: all.length === 0 ? null : all.join(' ').slice(0, 1024),
  };
}
