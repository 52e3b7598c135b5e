// Logs of runs: chunks appended by offset, compressed, capped to a head and a tail, read back by byte.
import { zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import type { LogStream } from '../protocol/agent-messages.ts';
import type { Database, Sql } from './database.ts';

export interface NewLogChunk {
  runId: string;
  stream: LogStream;
  /** Offset of the first byte within its stream. */
  offset: number;
  bytes: Buffer;
  /** The agent's place in the engine's log after this chunk. */
  position: string;
}

/** Bytes kept of one run's log: its beginning and its end. */
export interface LogCap {
  headBytes: number;
  tailBytes: number;
}

export const defaultLogCap: LogCap = { headBytes: 4 * 1024 * 1024, tailBytes: 12 * 1024 * 1024 };
/** Trimming goes in steps of this size, so that it is rare. */
const trimStepBytes = 1024 * 1024;
/** Smaller chunks do not gain from compression. */
const compressFromBytes = 256;

export interface LogOffset {
  runId: string;
  stream: LogStream;
  /** Every byte of the stream below it is stored. */
  offset: number;
}

interface LogState {
  run_id: string;
  total_bytes: number;
  stdout_offset: number;
  stdout_position: string | null;
  stderr_offset: number;
  stderr_position: string | null;
}

/** Stores what is new of these chunks; answers how far each stream is stored. Runs of other nodes are left out. */
export async function appendLogChunks(
  database: Database,
  options: { nodeId: string; chunks: readonly NewLogChunk[]; cap: LogCap },
): Promise<LogOffset[]> {
  const { nodeId, chunks, cap } = options;
  const runIds = [...new Set(chunks.map((chunk) => chunk.runId))];
  return database.transaction(async (sql) => {
    const states = new Map((await lockStates(sql, runIds, nodeId)).map((state) => [state.run_id, state]));
    const rows = chunks.flatMap((chunk) => appendTo(states.get(chunk.runId), chunk));
    if (rows.length > 0) await writeChunks(sql, rows, [...states.values()]);
    for (const state of states.values())
      await trim(sql, state, { cap, added: addedBytes(rows, state.run_id) });
    return offsetsOf(chunks, states);
  });
}

async function lockStates(sql: Sql, runIds: readonly string[], nodeId: string): Promise<LogState[]> {
  await sql.query(
    {
      name: 'open_log_states',
      text: `insert into run_log_states (run_id)
        select r.id from job_runs r where r.id = any ($1::uuid[]) and r.node_id = $2
          and not exists (select from run_log_states s where s.run_id = r.id)
        order by r.id on conflict do nothing`,
    },
    [runIds, nodeId],
  );
  return sql.query<LogState>(
    {
      name: 'lock_log_states',
      text: `select s.* from run_log_states s join job_runs r on r.id = s.run_id
        where s.run_id = any ($1::uuid[]) and r.node_id = $2 order by s.run_id for update of s`,
    },
    [runIds, nodeId],
  );
}

interface ChunkRow {
  run_id: string;
  position: number;
  length: number;
  stream: LogStream;
  is_compressed: boolean;
  bytes: string;
}

/** Moves the state on by what is new of the chunk; a chunk that leaves a hole is for the agent to send again. */
function appendTo(state: LogState | undefined, chunk: NewLogChunk): ChunkRow[] {
  if (state === undefined) return [];
  const known = state[`${chunk.stream}_offset`];
  if (chunk.offset > known) return [];
  const fresh = chunk.bytes.subarray(known - chunk.offset);
  if (fresh.length === 0) return [];
  const position = state.total_bytes;
  state.total_bytes += fresh.length;
  state[`${chunk.stream}_offset`] = known + fresh.length;
  state[`${chunk.stream}_position`] = chunk.position;
  return [{ run_id: state.run_id, position, length: fresh.length, stream: chunk.stream, ...pack(fresh) }];
}

function pack(bytes: Buffer): { is_compressed: boolean; bytes: string } {
  if (bytes.length >= compressFromBytes) {
    const packed = zstdCompressSync(bytes);
    if (packed.length < bytes.length) return { is_compressed: true, bytes: `\\x${packed.toString('hex')}` };
  }
  return { is_compressed: false, bytes: `\\x${bytes.toString('hex')}` };
}

async function writeChunks(sql: Sql, rows: ChunkRow[], states: LogState[]): Promise<void> {
  await sql.query(
    {
      name: 'write_log_chunks',
      text: `with chunks as (
          insert into run_logs (run_id, position, length, stream, is_compressed, bytes, created_at)
          select run_id, position, length, stream, is_compressed, bytes, flotilla_now()
          from json_to_recordset($1::json) as i(
            run_id uuid, position bigint, length integer, stream text, is_compressed boolean, bytes bytea)
        )
        update run_log_states s set total_bytes = i.total_bytes, stdout_offset = i.stdout_offset,
          stdout_position = i.stdout_position, stderr_offset = i.stderr_offset, stderr_position = i.stderr_position
        from json_to_recordset($2::json) as i(run_id uuid, total_bytes bigint, stdout_offset bigint,
          stdout_position text, stderr_offset bigint, stderr_position text)
        where s.run_id = i.run_id`,
    },
    [JSON.stringify(rows), JSON.stringify(states)],
  );
}

function addedBytes(rows: ChunkRow[], runId: string): number {
  return rows.reduce((sum, row) => (row.run_id === runId ? sum + row.length : sum), 0);
}

/** Drops whole chunks between head and tail once enough of them gathered, and notes the gap. */
async function trim(sql: Sql, state: LogState, options: { cap: LogCap; added: number }): Promise<void> {
  const { cap, added } = options;
  const kept = cap.headBytes + cap.tailBytes;
  const before = state.total_bytes - added;
  if (
    state.total_bytes <= kept ||
    Math.floor(before / trimStepBytes) === Math.floor(state.total_bytes / trimStepBytes)
  ) {
    return;
  }
  await sql.query(
    {
      name: 'trim_log',
      text: `with dropped as (
          delete from run_logs where run_id = $1 and position >= $2 and position + length <= $3
          returning position, length
        ), gap as (select min(position) as low, max(position + length) as high from dropped)
        update run_log_states s set gap_from = coalesce(s.gap_from, gap.low), gap_to = gap.high
        from gap where s.run_id = $1 and gap.high is not null`,
    },
    [state.run_id, cap.headBytes, state.total_bytes - cap.tailBytes],
  );
}

function offsetsOf(chunks: readonly NewLogChunk[], states: Map<string, LogState>): LogOffset[] {
  const offsets = new Map<string, LogOffset>();
  for (const { runId, stream } of chunks) {
    const state = states.get(runId);
    if (state !== undefined)
      offsets.set(`${runId}/${stream}`, { runId, stream, offset: state[`${stream}_offset`] });
  }
  return [...offsets.values()];
}

export interface LogSlice {
  bytes: Buffer;
  /** Where the slice begins: the asked offset, or the end of the gap it fell into. */
  offset: number;
  totalBytes: number;
  gap: { from: number; to: number } | null;
}

/** Stored bytes from `offset` on, at most `limit`, never across the gap. */
export async function readLog(
  sql: Sql,
  options: { runId: string; offset: number; limit: number },
): Promise<LogSlice> {
  const { runId, limit } = options;
  const [state] = await sql.query<{ total_bytes: number; gap_from: number | null; gap_to: number | null }>(
    {
      name: 'read_log_state',
      text: 'select total_bytes, gap_from, gap_to from run_log_states where run_id = $1',
    },
    [runId],
  );
  if (state === undefined)
    return { bytes: Buffer.alloc(0), offset: options.offset, totalBytes: 0, gap: null };
  const { total_bytes: totalBytes, gap_from: from, gap_to: to } = state;
  const gap = from !== null && to !== null ? { from, to } : null;
  const isInGap = gap !== null && options.offset >= gap.from && options.offset < gap.to;
  const offset = isInGap ? gap.to : options.offset;
  const end = gap !== null && offset < gap.from ? Math.min(offset + limit, gap.from) : offset + limit;
  const rows = await sql.query<{ position: number; is_compressed: boolean; bytes: Buffer }>(
    {
      name: 'read_log_chunks',
      text: `select position, is_compressed, bytes from run_logs
        where run_id = $1 and position < $3 and position + length > $2 order by position`,
    },
    [runId, offset, end],
  );
  const parts = rows.map((row) => {
    const bytes = row.is_compressed ? zstdDecompressSync(row.bytes) : row.bytes;
    return bytes.subarray(Math.max(0, offset - row.position), Math.max(0, end - row.position));
  });
  return { bytes: Buffer.concat(parts), offset, totalBytes, gap };
}
