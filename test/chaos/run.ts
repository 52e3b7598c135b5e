// One chaos run from the first process to the report: load and faults, healing, rest, audit, removal.
import { loadavg } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { auditEngine, auditGpus, auditListeners, auditTruth, auditTwice } from './audit-containers.ts';
import { auditChanges, auditEnds, auditJobs, auditShares, auditStops, readRows } from './audit-database.ts';
import { auditLogs } from './audit-logs.ts';
import { auditReceipts } from './audit-receipts.ts';
import { Faults, faultKinds } from './faults.ts';
import type { Evidence, Finding } from './findings.ts';
import { Load, type LoadPace } from './load.ts';
import { createPlace, type Place } from './place.ts';
import { type LeftProcess, processesOf } from './processes.ts';
import { awaitHealth, comeToRest } from './quiet.ts';
import { createRandom } from './random.ts';
import { type ChaosReport, countBy } from './report.ts';
import { Watcher } from './watcher.ts';

export interface ChaosOptions {
  minutes: number;
  seed: string;
  tell: (line: string) => void;
  pace?: Partial<LoadPace>;
  /** Every kind of fault comes once in a round; absent: 75 s, or a third of a short run. */
  roundMs?: number;
  /** Breaks the run off; the place is taken down. */
  signal?: AbortSignal;
}

const defaultPace: LoadPace = {
  submitEveryMs: 1_000,
  stopEveryMs: 4_500,
  bulkStopEveryMs: 30_000,
  maxLiveJobs: 40,
};
const longestRoundMs = 75_000;
const roundsAtLeast = 3;
const tellEveryMs = 10_000;

/** Makes the place, disturbs it for so long, and answers what the audit found; it is gone on return, save its logs. */
export async function runChaos(options: ChaosOptions): Promise<ChaosReport> {
  const place = await createPlace();
  try {
    const report = await disturb(place, options);
    await place.remove(report.findings.length > 0);
    report.findings.push(...endLeftProcesses(place.folder));
    return report;
  } catch (error) {
    const isKept = options.signal?.aborted !== true;
    await place.remove(isKept);
    endLeftProcesses(place.folder);
    if (!isKept) throw options.signal?.reason;
    throw new Error(`The chaos run broke off; its place is kept in ${place.folder}.`, { cause: error });
  }
}

async function disturb(place: Place, options: ChaosOptions): Promise<ChaosReport> {
  const { minutes, seed, tell, pace, signal } = options;
  const random = createRandom(seed);
  const watcher = new Watcher(place);
  await watcher.start();
  const living = watchLiving(place);
  const load = new Load(place, {
    random: random.fork('load'),
    pace: { ...defaultPace, ...pace },
    isLive: living.isLive,
  });
  const faults = new Faults(place, random.fork('faults'));
  const durationMs = minutes * 60_000;
  const roundMs = options.roundMs ?? Math.min(longestRoundMs, durationMs / roundsAtLeast);
  const startedAt = performance.now();
  const teller = setInterval(
    () => tell(progress({ startedAt, load, faults, watcher, liveJobs: living.count() })),
    tellEveryMs,
  );
  try {
    const running = Promise.all([load.run(), faults.run(roundMs)]);
    await sleep(durationMs, undefined, signal === undefined ? {} : { signal });
    await faults.heal();
    const healedAt = performance.now();
    await load.end();
    await running;
    tell('healed; waiting for rest');
    await awaitHealth(place);
    await comeToRest(place, { load, watcher });
    const restMs = performance.now() - healedAt;
    tell('auditing');
    return await audit(place, { load, faults, watcher, minutes, seed, restMs });
  } finally {
    clearInterval(teller);
    living.stop();
    watcher.stop();
    await faults.heal();
  }
}

/** Which jobs live, read from the database each second as long as it answers. */
function watchLiving({ postgres }: Place) {
  let live = new Set<string>();
  let isReading = false;
  const timer = setInterval(async () => {
    if (isReading) return;
    isReading = true;
    const read = postgres.pool.query<{ id: string }>(
      "select id from jobs where status in ('PENDING', 'ASSIGNED', 'RUNNING')",
    );
    await read.then(
      ({ rows }) => {
        live = new Set(rows.map(({ id }) => id));
      },
      () => {},
    );
    isReading = false;
  }, 1_000);
  return {
    isLive: (uuid: string) => live.has(uuid),
    count: () => live.size,
    stop: () => clearInterval(timer),
  };
}

function progress(now: {
  startedAt: number;
  load: Load;
  faults: Faults;
  watcher: Watcher;
  liveJobs: number;
}): string {
  const { load, faults, watcher } = now;
  const seconds = Math.round((performance.now() - now.startedAt) / 1000);
  const jobs = `${load.jobs.size} jobs, ${now.liveJobs} live, ${load.stopCount} stops`;
  const kinds = faultKinds.map((kind) => `${kind} ${faults.count(kind)}`).join(', ');
  return `${seconds} s: ${jobs}, ${watcher.liveCount()} containers, load ${loadavg()[0]?.toFixed(1)}; ${kinds}`;
}

async function audit(
  place: Place,
  run: { load: Load; faults: Faults; watcher: Watcher; minutes: number; seed: string; restMs: number },
): Promise<ChaosReport> {
  const { load, faults, watcher } = run;
  const { pool } = place.postgres;
  const { jobs, runs } = await readRows(pool);
  const lives = [...watcher.lives.values()];
  const evidence: Evidence = {
    jobs,
    runs,
    lives,
    acknowledged: load.jobs,
    faults: faults.past,
    nodes: place.nodes,
  };
  const [server] = place.servers;
  if (server === undefined) throw new Error('A place has servers.');
  const logs = await auditLogs(server.client, evidence);
  const receipts = await auditReceipts(server.client, evidence);
  const engines = await Promise.all(place.nodes.map((node) => auditEngine(node)));
  const shims = processesOf(place.folder).filter(({ commandLine }) =>
    commandLine.includes('containerd-shim'),
  );
  const findings: Finding[] = [
    ...auditJobs(evidence),
    ...auditEnds(evidence),
    ...(await auditChanges(pool)),
    ...(await auditShares(pool)),
    ...(await auditStops(pool, evidence)),
    ...engines.flat(),
    ...auditListeners(),
    ...shims.filter(({ isEmptyShim }) => !isEmptyShim).map(livingShim),
    ...auditTwice(evidence),
    ...auditGpus(evidence),
    ...auditTruth(evidence),
    ...logs.findings,
    ...receipts.findings,
    ...load.wrongAnswers.map(({ jobUuid, text }): Finding => ({ kind: 'answer', text, jobUuid })),
    ...place.surprises.map((text): Finding => ({ kind: 'ended', text })),
  ];
  return {
    seed: run.seed,
    minutes: run.minutes,
    folder: place.folder,
    jobs: {
      submitted: load.jobs.size,
      byStatus: countBy(jobs.values(), ({ status }) => status),
      byProgram: countBy(load.jobs.values(), ({ program }) => program.kind),
    },
    stops: load.stopCount,
    bulkStops: load.bulkStopCount,
    visits: { answered: load.visits.answered, failed: load.visits.failed },
    uncordons: load.uncordonCount,
    repeatedRequests: load.refusedCount,
    runs: {
      count: runs.length,
      containers: lives.length,
      endsByCode: countBy(
        runs.filter(({ status }) => status === 'FAILED'),
        ({ code }) => code ?? 'unknown',
      ),
    },
    teardowns: countBy(
      runs.filter(({ teardown_state: state }) => state !== null),
      ({ teardown_state: state }) => state ?? '',
    ),
    receipts: receipts.states,
    logs: {
      runs: logs.runCount,
      bytes: logs.byteCount,
      engineLosses: logs.engineLossCount,
      engineHaste: logs.engineHasteCount,
      givenUp: logs.givenUpCount,
    },
    faults: countFaults(faults),
    emptyShims: shims.filter(({ isEmptyShim }) => isEmptyShim).length,
    restMs: run.restMs,
    findings,
  };
}

/** Its engine knows no container any more, and a program runs on. */
function livingShim({ pid, commandLine }: LeftProcess): Finding {
  return {
    kind: 'leaked',
    text: `a container lives past its engine, pid ${pid}: ${commandLine.slice(0, 200)}`,
  };
}

function countFaults(faults: Faults): ChaosReport['faults'] {
  const counts = faultKinds.map((kind) => [kind, faults.count(kind)] as const);
  return Object.fromEntries(counts) as ChaosReport['faults'];
}

/** What is left after the place was removed, and ends now. */
function endLeftProcesses(folder: string): Finding[] {
  const left = processesOf(folder);
  for (const { pid } of left) process.kill(pid, 'SIGKILL');
  return left
    .filter(({ isEmptyShim }) => !isEmptyShim)
    .map(({ pid, commandLine }) => ({
      kind: 'leaked',
      text: `process ${pid} is left: ${commandLine.slice(0, 200)}`,
    }));
}
