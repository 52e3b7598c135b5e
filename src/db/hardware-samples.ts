// Samples of nodes and their runs: written by the hub in one statement a second, averaged and dropped by housekeeping.
import type { Sample, Usage } from '../protocol/hardware.ts';
import type { Database, Sql } from './database.ts';

export interface NodeSample {
  nodeId: string;
  /** Its runs are this node's, as the hub checked. */
  sample: Sample;
}

const usageNames = [
  ...(['cpu_cores', 'memory_bytes', 'gpu_utilisation', 'gpu_memory_bytes'] as const),
  ...(['network_rx_bytes', 'network_tx_bytes', 'disk_read_bytes', 'disk_written_bytes'] as const),
];
const usageColumns = usageNames.join(', ');
const usageTypes = [...['real', 'bigint', 'real', 'bigint'], ...['bigint', 'bigint', 'bigint', 'bigint']];

/** One statement for the samples of all nodes, one of each. */
export async function writeSamples(sql: Sql, samples: readonly NodeSample[]): Promise<void> {
  const nodes = samples.map(({ nodeId, sample }) => row(nodeId, sample.span_ms, sample.node));
  const runs = samples.flatMap(({ sample }) =>
    sample.runs.map((run) => row(run.run_uuid, run.span_ms ?? sample.span_ms, run)),
  );
  await sql.query({ name: 'write_samples', text: writeText }, [
    ...columnsOf(nodes),
    ...columnsOf(runs),
    samples.map(({ nodeId }) => nodeId),
    samples.map(({ sample }) => JSON.stringify(sample.node)),
  ]);
}

type SampleRow = readonly [id: string, spanMs: number, ...usage: (number | null)[]];

function row(id: string, spanMs: number, usage: Usage): SampleRow {
  return [id, spanMs, ...usageNames.map((name) => usage[name])];
}

const columnCount = 2 + usageNames.length;

function columnsOf(rows: readonly SampleRow[]): unknown[][] {
  return Array.from({ length: columnCount }, (_, index) => rows.map((cells) => cells[index] ?? null));
}

/** Placeholders from `$first` on, one array a column. */
function arrays(first: number): string {
  const types = ['uuid', 'integer', ...usageTypes];
  return types.map((type, index) => `$${first + index}::${type}[]`).join(', ');
}

const insertText = (subject: 'node' | 'run', first: number) =>
  `insert into ${subject}_samples (slot, at, ${subject}_id, span_ms, ${usageColumns})
     select flotilla_sample_slot(flotilla_now()), flotilla_now(), s.* from unnest(${arrays(first)}) s`;

const writeText = `with nodes as (
    ${insertText('node', 1)}
  ), runs as (
    ${insertText('run', 1 + columnCount)}
  )
  insert into node_loads (node_id, at, load)
    select s.id, flotilla_now(), s.load
    from unnest($${1 + 2 * columnCount}::uuid[], $${2 + 2 * columnCount}::jsonb[]) s(id, load)
  on conflict (node_id) do update set at = excluded.at, load = excluded.load`;

/** Averages what is over, and empties what was averaged long ago; safe to run from every replica. */
export async function keepSamples(database: Database, averageDays: number): Promise<void> {
  await database.query('select flotilla_average_samples()');
  await database.query('select flotilla_drop_old_samples()');
  await database.query(`select flotilla_drop_old_averages(flotilla_now() - $1 * interval '1 day')`, [
    averageDays,
  ]);
}
