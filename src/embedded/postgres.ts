// The embedded PostgreSQL: a child of ours with its data in <data>/pg/<major>, kept running until it is stopped.

import { mkdirSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { findPostgresBinaries } from './postgres-binaries.ts';
import { createCluster, inspectCluster, readOrCreatePassword, superuser } from './postgres-cluster.ts';
import { askReadiness, type PostgresConnection } from './postgres-connection.ts';
import { boundLog, logSize, readLogSince } from './postgres-log.ts';
import { type PostgresPlace, preparePostgresPlace } from './postgres-place.ts';
import { choosePostgresUser } from './postgres-user.ts';
import {
  endOrphanedBackends,
  findPostmaster,
  type Postmaster,
  spawnPostmaster,
  stopPostmaster,
} from './postmaster.ts';

export type EmbeddedPostgres = {
  connection: PostgresConnection;
  /** It ran already: an earlier process of ours was killed and left it. */
  wasAdopted: boolean;
  major: number;
  /** The main process now; it changes when PostgreSQL had to be restarted. */
  pid(): number;
  stop(): Promise<void>;
};

export type EmbeddedPostgresOptions = {
  dataDirectory: string;
  log: (line: string) => void;
  /** Called when it dies by itself; it is restarted in any case. */
  onUnexpectedExit?: (reason: string) => void;
};

type Cluster = {
  place: PostgresPlace;
  folder: string;
  major: number;
  logFile: string;
  password: string;
  log: (line: string) => void;
};

const port = 5432;
/** A killed PostgreSQL looks alive to the next one until its zombie is reaped and its backends are gone. */
const conflictLimitMs = 30_000;
const absentLimitMs = 60_000;
const recoveryLimitMs = 30 * 60_000;

/** Starts PostgreSQL on the data directory, which the caller holds, or adopts the one that runs there; ready on return. */
export async function startEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const cluster = await openCluster(options);
  const keeper = new PostgresKeeper(cluster, options.onUnexpectedExit);
  return keeper.start();
}

async function openCluster({ dataDirectory, log }: EmbeddedPostgresOptions): Promise<Cluster> {
  const pgFolder = join(dataDirectory, 'pg');
  const isRoot = process.getuid?.() === 0;
  mkdirSync(pgFolder, { recursive: true, mode: isRoot ? 0o711 : 0o700 });
  const realFolder = realpathSync(pgFolder);
  const binaries = await findPostgresBinaries({ copyFolder: realFolder, log });
  const { major } = binaries;
  const folder = join(realFolder, String(major));
  const { isNew } = inspectCluster(realFolder, major);
  const user = choosePostgresUser(folder);
  const place = preparePostgresPlace({ pgFolder: realFolder, binaries, user, log });
  const password = readOrCreatePassword({ pgFolder: realFolder, major, isNew });
  if (isNew) {
    log(`creating the PostgreSQL ${binaries.version} database in ${folder}`);
    await createCluster({ pgFolder: realFolder, major, place, user, password, environment });
  }
  return { place, folder, major, logFile: `${folder}.log`, password, log };
}

/** Nothing of the caller's PG* variables, which PostgreSQL would obey. */
const environment: NodeJS.ProcessEnv = {
  PATH: `${process.env.PATH ?? ''}:/usr/sbin:/usr/bin:/sbin:/bin`,
  LC_ALL: 'C',
};

/** Owns the running main process: one start at a time, restarts with rising pauses, one stop. */
class PostgresKeeper {
  readonly #cluster: Cluster;
  readonly #onUnexpectedExit: ((reason: string) => void) | undefined;
  readonly #stopping = new AbortController();
  #postmaster: Postmaster | undefined;
  #restarting: Promise<void> | undefined;
  #logTimer: NodeJS.Timeout | undefined;

  constructor(cluster: Cluster, onUnexpectedExit: ((reason: string) => void) | undefined) {
    this.#cluster = cluster;
    this.#onUnexpectedExit = onUnexpectedExit;
  }

  async start(): Promise<EmbeddedPostgres> {
    const { major, logFile } = this.#cluster;
    boundLog(logFile);
    const { postmaster, wasAdopted } = await bringUp(this.#cluster, this.#stopping.signal);
    this.#logTimer = setInterval(() => boundLog(logFile), 30_000).unref();
    this.#watch(postmaster);
    const connection = connectionTo(this.#cluster, postmaster);
    return { connection, wasAdopted, major, pid: () => this.#postmaster?.pid ?? 0, stop: () => this.#stop() };
  }

  #watch(postmaster: Postmaster): void {
    this.#postmaster = postmaster;
    postmaster.unref();
    void postmaster.exited.then((reason) => {
      if (this.#stopping.signal.aborted) return;
      this.#cluster.log(`PostgreSQL ended unexpectedly (${reason}); starting it again`);
      this.#onUnexpectedExit?.(reason);
      this.#restarting = this.#restart();
    });
  }

  async #restart(): Promise<void> {
    const { signal } = this.#stopping;
    for (let pauseMs = 100; !signal.aborted; pauseMs = Math.min(pauseMs * 2, 10_000)) {
      try {
        const { postmaster } = await bringUp(this.#cluster, signal);
        this.#watch(postmaster);
        this.#cluster.log(`PostgreSQL runs again (pid ${postmaster.pid})`);
        return;
      } catch (error) {
        if (signal.aborted) return;
        this.#cluster.log(
          `${error instanceof Error ? error.message : String(error)}; trying again in ${pauseMs} ms`,
        );
        await sleep(pauseMs, undefined, { signal }).catch(() => {});
      }
    }
  }

  async #stop(): Promise<void> {
    this.#stopping.abort();
    clearInterval(this.#logTimer);
    await this.#restarting;
    if (this.#postmaster !== undefined) await stopPostmaster(this.#postmaster, this.#cluster.folder);
    this.#cluster.place.remove();
  }
}

type Up = { postmaster: Postmaster; wasAdopted: boolean };

async function bringUp(cluster: Cluster, signal: AbortSignal): Promise<Up> {
  const deadline = performance.now() + conflictLimitMs;
  for (;;) {
    const living = findPostmaster(cluster.folder);
    if (living !== undefined) {
      if (!(await becomesReady(cluster, living, signal))) continue;
      // Clients keep the socket's path, so a restart must come back to it.
      if (living.socketFolder !== '') cluster.place.socketFolder = living.socketFolder;
      return { postmaster: living, wasAdopted: true };
    }
    const logOffset = logSize(cluster.logFile);
    const started = spawnPostmaster({ ...cluster, clusterName: String(cluster.major), environment, port });
    if (await becomesReadyOrStops(cluster, started, signal))
      return { postmaster: started, wasAdopted: false };
    await considerRetry({ cluster, deadline, output: readLogSince(cluster.logFile, logOffset), started });
  }
}

/** Returns to try again where an earlier PostgreSQL is not quite gone; throws for every other failed start. */
async function considerRetry(failed: {
  cluster: Cluster;
  deadline: number;
  output: string;
  started: Postmaster;
}) {
  const { cluster, output } = failed;
  const isConflict = /lock file ".*" already exists|pre-existing shared memory block/.test(output);
  if (isConflict && performance.now() < failed.deadline) {
    if (output.includes('pre-existing shared memory block')) endOrphanedBackends(cluster.folder);
    await sleep(100);
    return;
  }
  const lines = output.split('\n').filter((line) => line.trim() !== '');
  const reason =
    lines.findLast((line) => /FATAL|PANIC/.test(line)) ?? lines.at(-1) ?? (await failed.started.exited);
  throw new Error(`PostgreSQL does not start on ${cluster.folder}: ${reason} (its log: ${cluster.logFile})`);
}

/** One we started ourselves is not left behind when it turns out unusable. */
async function becomesReadyOrStops(
  cluster: Cluster,
  started: Postmaster,
  signal: AbortSignal,
): Promise<boolean> {
  try {
    return await becomesReady(cluster, started, signal);
  } catch (error) {
    await stopPostmaster(started, cluster.folder);
    throw error;
  }
}

/** True when it takes our login; false when it ended before. */
async function becomesReady(cluster: Cluster, postmaster: Postmaster, signal: AbortSignal): Promise<boolean> {
  const startedAt = performance.now();
  let isAnnounced = false;
  while (!postmaster.hasExited()) {
    if (signal.aborted) throw new Error('PostgreSQL was stopped while it started');
    const readiness = await askReadiness(connectionTo(cluster, postmaster));
    if (readiness.kind === 'ready') return true;
    if (readiness.kind === 'refused') throw refusal(cluster, postmaster, readiness.error);
    const waitedMs = performance.now() - startedAt;
    if (waitedMs > (readiness.kind === 'busy' ? recoveryLimitMs : absentLimitMs))
      throw tooLate(cluster, postmaster);
    if (waitedMs > 3_000 && !isAnnounced) {
      isAnnounced = true;
      cluster.log(
        `PostgreSQL (pid ${postmaster.pid}) is still starting or recovering; its log: ${cluster.logFile}`,
      );
    }
    await sleep(Math.min(10 + waitedMs / 4, 250));
  }
  return false;
}

function refusal(cluster: Cluster, postmaster: Postmaster, cause: Error): Error {
  postmaster.unref();
  return new Error(
    `The PostgreSQL (pid ${postmaster.pid}) on ${cluster.folder} refuses our login: ${cause.message}. ` +
      `If ${cluster.folder}.password was changed, restore it.`,
    { cause },
  );
}

function tooLate(cluster: Cluster, postmaster: Postmaster): Error {
  postmaster.unref();
  return new Error(`PostgreSQL (pid ${postmaster.pid}) does not answer; see its log ${cluster.logFile}.`);
}

function connectionTo(cluster: Cluster, postmaster: Postmaster): PostgresConnection {
  const host = postmaster.socketFolder === '' ? cluster.place.socketFolder : postmaster.socketFolder;
  return { host, port, user: superuser, password: cluster.password, database: 'flotilla' };
}
