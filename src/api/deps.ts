// What the API needs from the rest of the program, passed in by the roles that wire it.
import type { Database } from '../db/database.ts';
import type { Hints } from '../db/hints.ts';
import type { JobSubmitter } from '../db/job-submit.ts';
import type { Vault } from '../db/vault.ts';
import type { LiveJobs } from './live-jobs.ts';
import type { GatewayAddress } from './node-urls.ts';
import type { RunStreams } from './run-streams.ts';

export interface ApiDeps {
  version: string;
  database: Database;
  vault: Vault;
  submitter: JobSubmitter;
  hints: Hints;
  scheduling: SchedulingView;
  gateway: GatewayAddress;
  streams: RunStreams;
  /** Epoch milliseconds. */
  now: () => number;
  /** A fresh UUIDv7. */
  newId: () => string;
  /** Fresh random letters and digits of that length. */
  newToken: (length: number) => string;
  /** Jobs of one account that may live at once. */
  maxLiveJobs: number;
  liveJobs: LiveJobs;
}

/** What this replica knows of the scheduler's passes. */
export interface SchedulingView {
  /** Told of every job this replica accepted. */
  noteSubmit(accountId: string): void;
  /** Resolves when a pass has looked at everything the account submitted here, at the latest after 200 ms. */
  awaitPass(accountId: string): Promise<void>;
  /** Where a PENDING job stood at the last pass of this replica; null when another replica leads. */
  queuePosition(jobId: string): number | null;
}
