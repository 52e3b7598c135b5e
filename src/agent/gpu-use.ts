// What uses the node's GPUs at this moment: memory of each and compute processes on it, by nvidia-smi.
import type { NvidiaSmi, SmiAnswer } from './nvidia-smi.ts';

export interface GpuUse {
  uuid: string;
  /** null where the driver does not say, as for some virtual GPUs. */
  usedMib: number | null;
  pids: number[];
}

/** By uuid; throws a sentence when nvidia-smi is absent or fails. */
export async function readGpuUse(smi: NvidiaSmi): Promise<Map<string, GpuUse>> {
  const [memory, processes] = await Promise.all([
    smi.ask('--query-gpu=uuid,memory.used'),
    smi.ask('--query-compute-apps=gpu_uuid,pid'),
  ]);
  return parseGpuUse(textOf(memory), textOf(processes));
}

function textOf(answer: SmiAnswer): string {
  if (answer.kind === 'text') return answer.text;
  throw new Error(
    answer.kind === 'failed' ? answer.why : 'There is no nvidia-smi any more; install the GPU driver.',
  );
}

/** Lines of `uuid, MiB` and of `uuid, pid`; lines that do not fit count for nothing. */
export function parseGpuUse(memory: string, processes: string): Map<string, GpuUse> {
  const uses = new Map<string, GpuUse>();
  for (const [uuid = '', used = ''] of cellsOf(memory)) {
    if (!isUuid(uuid)) continue;
    uses.set(uuid, { uuid, usedMib: /^\d+$/.test(used) ? Number(used) : null, pids: [] });
  }
  for (const [uuid = '', pid = ''] of cellsOf(processes)) {
    if (/^\d+$/.test(pid)) uses.get(uuid)?.pids.push(Number(pid));
  }
  return uses;
}

/** Less moves by itself; a forgotten context alone holds more than a hundred. */
export const toleranceMib = 64;

/** What of a run is left on its GPU, as the middle of a sentence; null when nothing is. */
export function leftOver(baseline: GpuUse, now: GpuUse | undefined): string | null {
  if (now === undefined) return 'it is no longer there';
  const pids = now.pids.filter((pid) => !baseline.pids.includes(pid));
  const isOver = (now.usedMib ?? 0) > (baseline.usedMib ?? 0) + toleranceMib;
  const parts = [
    ...(isOver ? [`${now.usedMib} MiB are in use, ${baseline.usedMib ?? 0} MiB were before`] : []),
    ...(pids.length > 0 ? [`process ${pids.slice(0, 8).join(', ')} still uses it`] : []),
  ];
  return parts.length === 0 ? null : parts.join('; ');
}

function cellsOf(text: string): string[][] {
  const lines = text.split('\n').filter((line) => line.trim() !== '');
  return lines.map((line) => line.split(',').map((cell) => cell.trim()));
}

function isUuid(text: string): boolean {
  return /^[\w-]{4,128}$/.test(text);
}
