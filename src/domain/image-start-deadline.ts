// How long a run may take to start while its image comes: the start timeout counts from the last byte that moved.

/** However slowly bytes move, a run that has not started by then is given up. */
export const maxStartMs = 6 * 60 * 60_000;

export interface StartDeadline {
  atMs: number;
  assignedAtMs: number;
  /** `max_timeout_start_ms` of the job. */
  timeoutMs: number;
}

/** The new deadline after a report of progress; the same while no byte moved. It is never moved nearer. */
export function extendStartDeadline(
  { atMs, assignedAtMs, timeoutMs }: StartDeadline,
  { before, after, nowMs }: { before: unknown; after: unknown; nowMs: number },
): number {
  if (receivedBytes(after) <= receivedBytes(before)) return atMs;
  return Math.max(atMs, Math.min(nowMs + timeoutMs, assignedAtMs + maxStartMs));
}

/** Progress is stored as the agent told it. */
function receivedBytes(progress: unknown): number {
  if (typeof progress !== 'object' || progress === null) return 0;
  const { received_bytes: bytes } = progress as { received_bytes?: unknown };
  return typeof bytes === 'number' ? bytes : 0;
}
