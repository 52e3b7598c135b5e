// How loaded a node is and what a run used, as people read it.
import type { HardwareEvent } from '../protocol/node.ts';
import type { StatsPoint } from '../protocol/stats.ts';
import type { Column } from './table.ts';

/** `12%`, with `GPU 50%` beside it where there are GPUs; empty when no sample came. */
export function loadSummary(event: HardwareEvent | null): string {
  if (event === null) return '';
  const { cpu, gpu } = event.metadata;
  return `${Math.round(cpu.average)}%${gpu.average === null ? '' : `, GPU ${Math.round(gpu.average)}%`}`;
}

/** The same with what is left of memory and disk. */
export function loadText(event: HardwareEvent | null): string | null {
  if (event === null) return null;
  const { ram, storage } = event.metadata;
  const freeDisk = storage.hard_drives[0]?.free_capacity ?? null;
  const parts = [
    `CPU ${loadSummary(event)}`,
    ...(ram.free === null ? [] : [`${formatBytes(ram.free)} of memory free`]),
    ...(freeDisk === null ? [] : [`${formatBytes(freeDisk)} of disk free`]),
  ];
  return parts.join(', ');
}

/** Load of each GPU by its uuid: `35%, 12 GB free`; empty where it is not known. */
export function gpuLoads(event: HardwareEvent | null): Map<string, string> {
  const gpus = event?.metadata.gpu.gpus ?? [];
  return new Map(
    gpus.map(({ uuid, load, vram }) => {
      const parts = [
        ...(load === null ? [] : [`${Math.round(load)}%`]),
        ...(vram.free === null ? [] : [`${formatBytes(vram.free)} free`]),
      ];
      return [uuid, parts.join(', ')];
    }),
  );
}

export const pointColumns: Column<StatsPoint>[] = [
  { header: 'TIME', cell: (point) => new Date(point.timestamp_ms).toISOString().slice(0, 19) },
  right('CPU', (point) => orEmpty(point.cpu_cores, (cores) => cores.toFixed(2))),
  right('CPU MAX', (point) => orEmpty(point.cpu_cores_max, (cores) => cores.toFixed(2))),
  right('MEMORY', (point) => orEmpty(point.memory_bytes, formatBytes)),
  right('MEMORY MAX', (point) => orEmpty(point.memory_bytes_max, formatBytes)),
  right('GPU', (point) => orEmpty(point.gpu_utilisation, (part) => `${Math.round(part * 100)}%`)),
  right('GPU MEMORY', (point) => orEmpty(point.gpu_memory_bytes, formatBytes)),
  right('RECEIVED', (point) => orEmpty(point.network_rx_bytes_per_second, perSecond)),
  right('SENT', (point) => orEmpty(point.network_tx_bytes_per_second, perSecond)),
  right('DISK READ', (point) => orEmpty(point.disk_read_bytes_per_second, perSecond)),
  right('WRITTEN', (point) => orEmpty(point.disk_written_bytes_per_second, perSecond)),
];

function right(header: string, cell: (point: StatsPoint) => string): Column<StatsPoint> {
  return { header, cell, align: 'right' };
}

function orEmpty(value: number | null, text: (value: number) => string): string {
  return value === null ? '' : text(value);
}

const perSecond = (bytes: number) => `${formatBytes(bytes)}/s`;

const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'] as const;

/** Three digits and a unit of 1000: `412 MB`, `1.50 GB`. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let index = 0;
  while (value >= 999.5 && index < units.length - 1) {
    value /= 1000;
    index += 1;
  }
  return `${index === 0 ? Math.round(value) : value.toPrecision(3)} ${units[index]}`;
}
