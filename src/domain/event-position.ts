// Where a follower of events stands: the database snapshot it has seen whole, and how far it is in what came after it.

/** A snapshot of PostgreSQL, `xmin:xmax:xip,…` as its type pg_snapshot writes it. */
export interface Snapshot {
  xmin: bigint;
  xmax: bigint;
  running: ReadonlySet<bigint>;
}

export interface EventPosition {
  /** The database's time when `since` was taken, or later, epoch milliseconds. */
  atMs: number;
  /** Every event that this snapshot shows was read. */
  since: string;
  /** Of those that `until` shows beyond it, the ones up to id `after` were read too. */
  within: { until: string; after: number } | null;
}

const snapshotPattern = /^(\d{1,18}):(\d{1,18}):((?:\d{1,18}(?:,\d{1,18}){0,1999})?)$/;

/** null for what PostgreSQL would not read as a snapshot. */
export function parseSnapshot(text: string): Snapshot | null {
  const [, low, high, list] = snapshotPattern.exec(text) ?? [];
  if (low === undefined || high === undefined || list === undefined) return null;
  const [xmin, xmax] = [BigInt(low), BigInt(high)];
  const running = list === '' ? [] : list.split(',').map(BigInt);
  const isOrdered = running.every((xid, at) => at === 0 || xid > (running[at - 1] ?? xid));
  const isInside = running.every((xid) => xid >= xmin && xid < xmax);
  if (xmin === 0n || xmax < xmin || !isOrdered || !isInside) return null;
  return { xmin, xmax, running: new Set(running) };
}

/** Whether what this transaction wrote was committed when the snapshot was taken (or will never be). */
export function isVisible(xid: bigint, snapshot: Snapshot): boolean {
  return xid < snapshot.xmin || (xid < snapshot.xmax && !snapshot.running.has(xid));
}

/** One word without spaces, fit for a header. */
export function formatPosition({ atMs, since, within }: EventPosition): string {
  const rest = within === null ? '' : `~${within.until}~${within.after}`;
  return `${atMs}~${since}${rest}`;
}

/** null for what formatPosition never wrote. */
export function parsePosition(text: string): EventPosition | null {
  const [at = '', since = '', until, after = '', ...others] = text.split('~');
  if (!/^\d{1,15}$/.test(at) || parseSnapshot(since) === null || others.length > 0) return null;
  const atMs = Number(at);
  if (until === undefined) return { atMs, since, within: null };
  if (parseSnapshot(until) === null || !/^\d{1,15}$/.test(after)) return null;
  return { atMs, since, within: { until, after: Number(after) } };
}
