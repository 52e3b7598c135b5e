// Follows logs of runs: woken by hints, and those who stand at the same byte share one read.
import type { Database } from '../db/database.ts';
import type { Hints } from '../db/hints.ts';
import { getJobRun, type JobRunRecord } from '../db/job-runs.ts';
import type { Vault } from '../db/vault.ts';
import { isTerminal } from '../domain/job.ts';
import type { JobRunLogs } from '../protocol/job-run.ts';
import type { EventStream } from './event-stream.ts';
import { readLogPage } from './log-page.ts';

const pageBytes = 256 * 1024;
/** Without hints. */
const safetyMs = 2_000;
/** Hubs tell of new log only for runs that were asked for within this time, so it is said again in between. */
const askMs = 10_000;
/** The last bytes of a lost node may never come. */
const maxSilenceMs = 60_000;

export interface FollowedRun {
  id: string;
  jobId: string;
  accountId: string;
}

interface Page {
  run: JobRunRecord;
  logs: JobRunLogs;
}

interface Followed {
  jobId: string;
  count: number;
  version: number;
  wakes: Set<() => void>;
  asking: NodeJS.Timeout;
}

export class LogFeed {
  readonly #deps: { database: Database; vault: Vault; hints: Hints };
  readonly #runs = new Map<string, Followed>();
  readonly #reads = new Map<string, Promise<Page>>();

  constructor(deps: { database: Database; vault: Vault; hints: Hints }) {
    this.#deps = deps;
    deps.hints.subscribe((hint) => {
      if (hint.kind === 'log') this.#wake(this.#runs.get(hint.runId));
      else if (hint.kind === 'missed') for (const run of this.#runs.values()) this.#wake(run);
      else if (hint.kind === 'job')
        for (const run of this.#runs.values()) if (run.jobId === hint.jobId) this.#wake(run);
    });
  }

  /** Sends the log from `offset` on, until its last byte or the stream is closed. */
  async follow(stream: EventStream, run: FollowedRun, offset: number): Promise<void> {
    const followed = this.#enter(run);
    try {
      await this.#send(stream, { run, followed, offset });
    } finally {
      this.#leave(run.id, followed);
    }
  }

  async #send(
    stream: EventStream,
    { run, followed, offset }: { run: FollowedRun; followed: Followed; offset: number },
  ): Promise<void> {
    let next = offset;
    let newsAtMs = performance.now();
    while (!stream.closed.aborted) {
      const { version } = followed;
      const page = await this.#read(run, next);
      const { logs } = page;
      const hasNews = logs.next_offset > next;
      if (hasNews || logs.is_complete)
        stream.send({ id: String(logs.next_offset), json: JSON.stringify(logs) });
      next = logs.next_offset;
      if (hasNews) newsAtMs = performance.now();
      const isSilent = performance.now() - newsAtMs > maxSilenceMs;
      if (logs.is_complete || (isSilent && isTerminal(page.run.status))) return stream.end('complete');
      await stream.drained();
      if (next >= logs.total_bytes || !hasNews) await this.#change(followed, version, stream.closed);
    }
  }

  #read(run: FollowedRun, offset: number): Promise<Page> {
    const key = `${run.id} ${offset}`;
    const known = this.#reads.get(key);
    if (known !== undefined) return known;
    const page = this.#readPage(run, offset).finally(() => this.#reads.delete(key));
    this.#reads.set(key, page);
    return page;
  }

  async #readPage({ id, accountId }: FollowedRun, offset: number): Promise<Page> {
    const { database, vault } = this.#deps;
    const run = await getJobRun(database, vault, { id, accountId });
    if (run === null) throw new Error(`The job run ${id} is gone.`);
    return { run, logs: await readLogPage(database, run, { offset, limit: pageBytes }) };
  }

  /** Resolves when there may be news since `version`. */
  async #change(followed: Followed, version: number, closed: AbortSignal): Promise<void> {
    if (followed.version !== version || closed.aborted) return;
    await new Promise<void>((resolve) => {
      const done = () => {
        clearTimeout(timer);
        closed.removeEventListener('abort', done);
        followed.wakes.delete(done);
        resolve();
      };
      const timer = setTimeout(done, safetyMs);
      closed.addEventListener('abort', done);
      followed.wakes.add(done);
    });
  }

  #wake(followed: Followed | undefined): void {
    if (followed === undefined) return;
    followed.version += 1;
    for (const wake of [...followed.wakes]) wake();
  }

  #enter({ id: runId, jobId }: FollowedRun): Followed {
    const known = this.#runs.get(runId);
    if (known !== undefined) {
      known.count += 1;
      return known;
    }
    const ask = () => this.#deps.hints.publish({ kind: 'log_wanted', runId });
    const fresh = {
      jobId,
      count: 1,
      version: 0,
      wakes: new Set<() => void>(),
      asking: setInterval(ask, askMs),
    };
    this.#runs.set(runId, fresh);
    ask();
    return fresh;
  }

  #leave(runId: string, followed: Followed): void {
    followed.count -= 1;
    if (followed.count > 0) return;
    clearInterval(followed.asking);
    this.#runs.delete(runId);
  }
}
