// Series of what a run or a node used: samples of the last hour, and averages of five minutes for what is older.
import type { StatsRange } from '../domain/stats-range.ts';
import type { Sql } from './database.ts';

export interface StatsSubject {
  kind: 'run' | 'node';
  id: string;
}

export interface StatsRow {
  atMs: number;
  cpuCores: number | null;
  cpuCoresMax: number | null;
  memoryBytes: number | null;
  memoryBytesMax: number | null;
  gpuUtilisation: number | null;
  gpuMemoryBytes: number | null;
  /** Bytes a second. */
  networkRx: number | null;
  networkTx: number | null;
  diskRead: number | null;
  diskWritten: number | null;
}

/** In order of time; steps begin at the start of the range. */
export async function readStats(sql: Sql, subject: StatsSubject, range: StatsRange): Promise<StatsRow[]> {
  return sql.query({ name: `read_${subject.kind}_stats`, text: textOf(subject.kind) }, [
    subject.id,
    ...[range.fromMs, range.toMs, range.stepMs],
  ]);
}

const moved = ['network_rx_bytes', 'network_tx_bytes', 'disk_read_bytes', 'disk_written_bytes'];
const columns = ['span_ms', 'cpu_cores', 'memory_bytes', 'gpu_utilisation', 'gpu_memory_bytes', ...moved];

const mean = (column: string) => `sum(p.${column} * p.n) / sum(p.n) filter (where p.${column} is not null)`;
const rate = (column: string) =>
  `(sum(p.${column}) * 1000.0 / sum(p.span_ms) filter (where p.${column} is not null))::double precision`;

/** Where samples were lost their averages stand in, if those were made before. */
const textOf = (kind: StatsSubject['kind']) => `
  with range as (
    select to_timestamp($2::double precision / 1000) as from_at, to_timestamp($3::double precision / 1000) as to_at,
      date_bin('5 minutes', flotilla_now() - interval '60 minutes', 'epoch') as samples_from
  ), parts as (
    select s.at, 1 as n, ${columns.map((name) => `s.${name}`).join(', ')}, s.cpu_cores as cpu_cores_max,
      s.memory_bytes as memory_bytes_max
    from range r, ${kind}_samples s
    where s.${kind}_id = $1 and s.at >= greatest(r.from_at, r.samples_from) and s.at <= r.to_at
    union all
    select greatest(a.at, r.from_at), a.sample_count, ${columns.map((name) => `a.${name}`).join(', ')},
      a.cpu_cores_max, a.memory_bytes_max
    from range r, ${kind}_sample_averages a
    where a.${kind}_id = $1 and a.at > r.from_at - interval '5 minutes' and a.at <= r.to_at
      and (a.at < r.samples_from or not exists (select from ${kind}_samples s
        where s.${kind}_id = $1 and s.at >= a.at and s.at < a.at + interval '5 minutes'))
  )
  select date_bin($4::double precision * interval '1 millisecond', p.at, r.from_at) as "atMs",
    ${mean('cpu_cores')} as "cpuCores", max(p.cpu_cores_max)::double precision as "cpuCoresMax",
    (${mean('memory_bytes')})::bigint as "memoryBytes", max(p.memory_bytes_max) as "memoryBytesMax",
    ${mean('gpu_utilisation')} as "gpuUtilisation", (${mean('gpu_memory_bytes')})::bigint as "gpuMemoryBytes",
    ${rate('network_rx_bytes')} as "networkRx", ${rate('network_tx_bytes')} as "networkTx",
    ${rate('disk_read_bytes')} as "diskRead", ${rate('disk_written_bytes')} as "diskWritten"
  from parts p, range r group by 1 order by 1`;
