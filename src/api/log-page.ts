// A piece of a run's log as the API shows it: whole characters, the gap, and whether the end was reached.
import type { Sql } from '../db/database.ts';
import type { JobRunRecord } from '../db/job-runs.ts';
import { readLog } from '../db/run-logs.ts';
import { wholeCharacters } from '../domain/utf8.ts';
import type { JobRunLogs } from '../protocol/job-run.ts';

/** The longest character of UTF-8: a smaller slice might hold none, and its reader would never get on. */
const minSliceBytes = 4;

export async function readLogPage(
  sql: Sql,
  run: JobRunRecord,
  { offset, limit }: { offset: number; limit: number },
): Promise<JobRunLogs> {
  const slice = await readLog(sql, { runId: run.id, offset, limit: Math.max(limit, minSliceBytes) });
  const isComplete = run.releasedAtMs !== null;
  const reachesEnd = slice.offset + slice.bytes.length >= slice.totalBytes;
  // A character may continue in bytes that are still to come; at the very end it is shown as it is.
  const bytes = isComplete && reachesEnd ? slice.bytes : wholeCharacters(slice.bytes);
  const nextOffset = slice.offset + bytes.length;
  return {
    object: 'job_run_logs',
    job_run_uuid: run.id,
    text: Buffer.from(bytes).toString('utf8'),
    offset: slice.offset,
    next_offset: nextOffset,
    total_bytes: slice.totalBytes,
    gap: slice.gap,
    is_complete: isComplete && nextOffset >= slice.totalBytes,
    is_end_stored: run.isLogComplete,
  };
}
