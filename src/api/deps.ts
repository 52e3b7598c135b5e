// What the API needs from the rest of the program, passed in by the roles that wire it.
import type { Database } from '../db/database.ts';
import type { Hints } from '../db/hints.ts';
import type { JobSubmitter } from '../db/job-submit.ts';
import type { Vault } from '../db/vault.ts';
import type { CapacityReader } from './capacity.ts';
import type { LiveJobs } from './live-jobs.ts';
import type { GatewayAddress } from './node-urls.ts';
import type { OidcSettings } from './oidc.ts';
import type { RunStreams } from './run-streams.ts';
import type { Traffic } from './traffic.ts';

export interface ApiDeps {
  version: string;
  database: Database;
  vault: Vault;
  clusterId: string;
  submitter: JobSubmitter;
  hints: Hints;
  scheduling: SchedulingView;
  capacity: CapacityReader;
  /** Nodes without isolation take every account's jobs. */
  trustTenants: boolean;
  gateway: GatewayAddress;
  streams: RunStreams;
  traffic: Traffic;
  /** null: nobody signs in by OpenID Connect. */
  oidc: OidcSettings | null;
  /** Where browsers reach this server: origin alone. */
  publicUrl: () => string;
  /** Epoch milliseconds. */
  now: () => number;
  /** A fresh UUIDv7. */
  newId: () => string;
  /** Fresh random letters and digits of that length. */
  newToken: (length: number) => string;
  /** Jobs of one account that may live at once. */
  maxLiveJobs: number;
  liveJobs: LiveJobs;
  /** What was expected of the URL of a webhook; null: it is right. */
  webhookUrlProblem: (url: string) => string | null;
  /** Streams that one account may hold on this replica; absent: the default. */
  maxStreams?: number;
}

/** What the API may know of the leader's passes, on whichever replica that is. */
export interface SchedulingView {
  /** Resolves when a pass has looked at every job of the account, at the latest 200 ms after the newest submit. */
  awaitPass(accountId: string): Promise<void>;
  /** Where a PENDING job stood at the last pass; null when nobody knows. */
  queuePosition(jobId: string): Promise<number | null>;
}
