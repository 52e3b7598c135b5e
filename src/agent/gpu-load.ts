// How busy each GPU is and how full, by nvidia-smi.
import type { GpuLoad } from '../protocol/hardware.ts';
import type { NvidiaSmi } from './nvidia-smi.ts';

/** None where nvidia-smi is absent or fails: what is wrong with it the inventory tells. */
export async function readGpuLoads(smi: NvidiaSmi): Promise<GpuLoad[]> {
  const answer = await smi.ask('--query-gpu=uuid,utilization.gpu,memory.used');
  return answer.kind === 'text' ? parseGpuLoads(answer.text) : [];
}

/** Lines of `uuid, percent, MiB`; a cell that is no number (`[N/A]` in MIG mode) is not known. */
export function parseGpuLoads(text: string): GpuLoad[] {
  const rows = text.split('\n').map((line) => line.split(',').map((cell) => cell.trim()));
  return rows.flatMap(([uuid = '', percent = '', mib = '']) => {
    if (!/^[\w-]{4,128}$/.test(uuid)) return [];
    const utilisation = numberOf(percent);
    const usedMib = numberOf(mib);
    return [
      {
        uuid,
        utilisation: utilisation === null ? null : Math.min(1, utilisation / 100),
        memory_used_bytes: usedMib === null ? null : usedMib * 2 ** 20,
      },
    ];
  });
}

function numberOf(cell: string): number | null {
  return /^\d+$/.test(cell) ? Number(cell) : null;
}
