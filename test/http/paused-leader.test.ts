// A leader that is stopped between two of its statements and wakes when another leads: nothing it then writes is stale.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, test } from 'node:test';
import { pino } from 'pino';
import { readJobRequest } from '../../src/api/job-request.ts';
import { createDatabase, type Database, DatabaseUnavailable } from '../../src/db/database.ts';
import { createHints } from '../../src/db/hints.ts';
import { createJobSubmitter } from '../../src/db/job-submit.ts';
import { claimLeadership } from '../../src/db/leadership.ts';
import { connectNode } from '../../src/db/node-leases.ts';
import { drainNode, uncordonNode } from '../../src/db/node-maintenance.ts';
import { claimNonce, dropOldNonces } from '../../src/db/nonces.ts';
import { lockRuns } from '../../src/db/run-event-rows.ts';
import { newId, newToken } from '../../src/main/ids.ts';
import { openStorage } from '../../src/main/storage.ts';
import { systemTimers } from '../../src/main/system-timers.ts';
import { Scheduler } from '../../src/scheduler/loop.ts';
import { aJob, aNode, anInventory } from '../support/builders.ts';
import { type PausableDatabase, pausable } from '../support/paused-database.ts';
import { exited, place, report, running } from '../support/runs.ts';
import { eventually, setSqlClock, sharedPostgres } from '../support/server.ts';

const folder = mkdtempSync(join(tmpdir(), 'flotilla-paused-'));
const postgres = await sharedPostgres();
const databaseUrl = await postgres.createDatabase();
const log = pino({ level: 'silent' });
const storage = await openStorage({ dataDirectory: folder, databaseUrl, tell: () => {}, log });
const { database, vault, account } = storage;
const scene = { database, storage };
const submitter = createJobSubmitter(database, vault);
const closers: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
  // Every test begins without jobs, nodes and leader.
  await database.query(
    'truncate jobs, job_runs, nodes, node_leases, gpu_allocations, pending_reasons, leaderships cascade',
  );
});
after(async () => {
  await storage.close();
  rmSync(folder, { recursive: true, force: true });
});

interface Leader {
  scheduler: Scheduler;
  /** Where it can be stopped. */
  database: PausableDatabase;
}

async function startLeader(): Promise<Leader> {
  const paused = pausable(database);
  const review = paused.pauseBefore(/list_runs_of_lost_nodes/);
  const scheduler = start(paused);
  // The first review gives every node a whole lease: only silence after it counts.
  await review.reached;
  review.end();
  return { scheduler, database: paused };
}

function start(paused: PausableDatabase): Scheduler {
  const replicaId = newId();
  const hints = createHints(database, { replicaId, onError: () => {} });
  const monotonicNow = () => performance.now();
  const scheduler = new Scheduler({
    ...{ database: paused, vault, hints, log, replicaId, newId, newToken, monotonicNow },
    ...{ timers: systemTimers, lostAfterMs: 1 },
  });
  scheduler.start();
  closers.push(async () => {
    paused.wake();
    await scheduler.stop();
    await hints.close();
  });
  return scheduler;
}

/** The lease of whoever leads is over, as when it slept longer than that; `by` leads now. */
async function takeOver(): Promise<Leader> {
  await database.query("update leaderships set expires_at = flotilla_now() - interval '1 second'");
  return startLeader();
}

async function leadByHand() {
  await database.query("update leaderships set expires_at = flotilla_now() - interval '1 second'");
  const claim = { name: 'scheduler', holder: newId(), leaseMs: 60_000 };
  const leadership = await claimLeadership(database, claim);
  assert.ok(leadership);
  return leadership;
}

async function submit(fields: Parameters<typeof aJob>[0] = {}): Promise<string> {
  const id = newId();
  const outcome = await submitter.submit({
    ...{ id, accountId: account.id, ...readJobRequest(aJob(fields)) },
    ...{ sourceRecipeUuid: null, nonce: null, idempotency: null, actor: { kind: 'test' } },
  });
  assert.equal(outcome.kind, 'created');
  return id;
}

interface Row {
  status: string;
  runs: number;
}

async function jobOf(id: string): Promise<Row> {
  const [row] = await database.query<Row>(
    'select j.status, (select count(*) from job_runs r where r.job_id = j.id) as runs from jobs j where j.id = $1',
    [id],
  );
  return row ?? assert.fail();
}

async function placedRun(jobId: string): Promise<{ id: string; nodeId: string; attempt: number }> {
  return eventually('a run', async () => {
    const rows = await database.query<{ id: string; nodeId: string; attempt: number }>(
      'select id, node_id as "nodeId", attempt from job_runs where job_id = $1',
      [jobId],
    );
    return rows[0];
  });
}

async function nodeStatus(id: string): Promise<string | undefined> {
  const [row] = await database.query<{ status: string }>('select status from nodes where id = $1', [id]);
  return row?.status;
}

/** Nobody has heard of the node for an hour. */
async function silence(nodeId: string): Promise<void> {
  await database.query(
    "update node_leases set last_seen_at = now() - interval '1 hour', expires_at = now() - interval '1 hour' where node_id = $1",
    [nodeId],
  );
}

/** The leader that was stopped has found out, and everything it still had to write is written. */
async function untilDeposed({ scheduler }: Leader): Promise<void> {
  await eventually('the sleeper to see that another leads', async () => !scheduler.isLeader);
}

test('a plan made before the sleep places nothing after it, though job and node are as they were', async () => {
  const sleeper = await startLeader();
  const pause = sleeper.database.pauseBefore(/write_plan/);
  await aNode(scene);
  const job = await submit();
  await pause.reached;
  await leadByHand();
  pause.end();
  await untilDeposed(sleeper);
  assert.deepEqual(await jobOf(job), { status: 'PENDING', runs: 0 });
});

test('what another leader placed meanwhile is not placed again', async () => {
  const sleeper = await startLeader();
  const pause = sleeper.database.pauseBefore(/write_plan/);
  await aNode(scene, { cpus: 1 });
  const jobs = [await submit({ cpu_count: 1 }), await submit({ cpu_count: 1 })];
  await pause.reached;
  const other = await takeOver();
  await eventually('one is placed', async () => (await jobOf(jobs[0] ?? '')).status === 'ASSIGNED');
  pause.end();
  await untilDeposed(sleeper);
  assert.deepEqual(await Promise.all(jobs.map(jobOf)), [
    { status: 'ASSIGNED', runs: 1 },
    { status: 'PENDING', runs: 0 },
  ]);
  assert.ok(other.scheduler.isLeader);
});

test('a leader that slept alone leads anew: what it knew before is read again', async () => {
  const claim = { name: 'alone', holder: newId(), leaseMs: 60_000 };
  const before = await claimLeadership(database, claim);
  assert.equal((await claimLeadership(database, claim))?.epoch, before?.epoch, 'renewed in time');
  await database.query("update leaderships set expires_at = flotilla_now() - interval '1 second'");
  const again = await claimLeadership(database, claim);
  assert.equal(again?.epoch, (before?.epoch ?? 0) + 1);
});

test('a replica whose passes fail lets another one lead', async () => {
  const broken: Database = {
    ...database,
    query: (statement, values) =>
      typeof statement !== 'string' && statement.name === 'select_changed_jobs'
        ? Promise.reject(new Error('It does not work here.'))
        : database.query(statement, values),
  };
  start(pausable(broken));
  await eventually(
    'it to lead',
    async () => (await database.query("select from leaderships where name = 'scheduler'")).length > 0,
  );
  await startLeader();
  await aNode(scene);
  await placedRun(await submit());
});

test('an assign deadline found before the sleep fails no job that was placed meanwhile', async () => {
  const sleeper = await startLeader();
  const pause = sleeper.database.pauseBefore(/fail_unassigned_jobs/);
  const job = await submit({ max_timeout_assign_ms: 300_000, cpu_count: 2 });
  const late = await submit({ max_timeout_assign_ms: 300_000, cpu_count: 64 });
  await database.query(
    'update jobs set timeout_assign_at = flotilla_now(), changed_in = pg_current_xact_id()',
  );
  await pause.reached;
  await database.query(
    "update jobs set timeout_assign_at = flotilla_now() + interval '1 hour' where id = $1",
    [late],
  );
  const leadership = await leadByHand();
  await place({ database, leadership }, job, (await aNode(scene)).id);
  pause.end();
  await untilDeposed(sleeper);
  assert.deepEqual(
    [(await jobOf(job)).status, (await jobOf(late)).status],
    ['ASSIGNED', 'PENDING'],
    'neither is past its deadline any more',
  );
});

for (const [kind, column] of [
  ['start_timeout', 'start_deadline_at'],
  ['run_timeout', 'run_deadline_at'],
] as const) {
  test(`a ${kind} found before the sleep ends no run that got further meanwhile`, async () => {
    const sleeper = await startLeader();
    await aNode(scene);
    const job = await submit();
    const run = await placedRun(job);
    if (kind === 'run_timeout') await report(driven(), run, running);
    const pause = sleeper.database.pauseBefore(/lock_runs/);
    await database.query(`update job_runs set ${column} = flotilla_now()`);
    await pause.reached;
    await leadByHand();
    await report(driven(), run, kind === 'run_timeout' ? exited(0) : running);
    pause.end();
    await untilDeposed(sleeper);
    assert.equal((await jobOf(job)).status, kind === 'run_timeout' ? 'COMPLETED' : 'RUNNING');
  });
}

function driven() {
  return { database, leadership: null };
}

test('silence that a leader slept through is not its to judge', async () => {
  const sleeper = await startLeader();
  const node = await aNode(scene);
  const run = await placedRun(await submit());
  await report(driven(), run, running);
  const pause = sleeper.database.pauseBefore(/status = 'lost', status_reason/);
  await silence(node.id);
  await pause.reached;
  await leadByHand();
  pause.end();
  await untilDeposed(sleeper);
  assert.equal(await nodeStatus(node.id), 'unreachable');
  const [row] = await database.query<{ status: string }>('select status from job_runs');
  assert.equal(row?.status, 'RUNNING');
});

test('a lost node that comes back while its leader sleeps keeps its run', async () => {
  const sleeper = await startLeader();
  const node = await aNode(scene);
  const job = await submit();
  const run = await placedRun(job);
  await report(driven(), run, running);
  const pause = sleeper.database.pauseBefore(/lock_runs/);
  await silence(node.id);
  await pause.reached;
  assert.equal(await nodeStatus(node.id), 'lost');
  await connectNode(database, {
    ...{ nodeId: node.id, sessionId: newId(), agentVersion: 'test', inventory: anInventory() },
    leaseMs: 60_000,
  });
  await takeOver();
  pause.end();
  await untilDeposed(sleeper);
  assert.deepEqual([(await jobOf(job)).status, await nodeStatus(node.id)], ['RUNNING', 'ready']);
});

test('a drain that is called off while its leader sleeps stops no run', async () => {
  const sleeper = await startLeader();
  const node = await aNode(scene);
  const job = await submit();
  const run = await placedRun(job);
  await report(driven(), run, running);
  const pause = sleeper.database.pauseBefore(/lock_runs/);
  const change = { nodeId: node.id, accountId: account.id, actor: {}, reason: null };
  await drainNode(database, { ...change, deadlineMs: 0 });
  await pause.reached;
  await uncordonNode(database, change);
  await takeOver();
  pause.end();
  await untilDeposed(sleeper);
  assert.equal((await jobOf(job)).status, 'RUNNING');
});

test('what a leader marked lost and could not give up, the next one gives up', async () => {
  const sleeper = await startLeader();
  const node = await aNode(scene);
  const job = await submit();
  const run = await placedRun(job);
  await report(driven(), run, running);
  const pause = sleeper.database.pauseBefore(/list_runs_of_lost_nodes/);
  await pause.reached;
  const isMarked = sleeper.database.pauseBefore(/list_runs_of_lost_nodes/);
  await silence(node.id);
  pause.end();
  await isMarked.reached;
  assert.equal(await nodeStatus(node.id), 'lost');
  await takeOver();
  await eventually('the job to fail', async () => (await jobOf(job)).status === 'FAILED');
  isMarked.end();
  await untilDeposed(sleeper);
});

test('reasons to wait that were found before the sleep are not told after it', async () => {
  const sleeper = await startLeader();
  const pause = sleeper.database.pauseBefore(/write_pending_reasons/);
  await submit({ cpu_count: 64 });
  await pause.reached;
  await leadByHand();
  const reason = JSON.stringify({ code: 'told by the other' });
  await database.query("insert into pending_reasons values ('another shape', $1, now())", [reason]);
  pause.end();
  await untilDeposed(sleeper);
  assert.deepEqual(await database.query('select shape from pending_reasons'), [{ shape: 'another shape' }]);
});

test('nonces: whoever cleans up, and when, only those too old to be shown again are forgotten', async () => {
  const key = newId();
  const slotMs = 300_000;
  // Two seconds into the first slot of the ring.
  const start = Math.ceil(Date.now() / slotMs / 4) * slotMs * 4 - Date.now() + 2_000;
  for (const slot of [0, 1, 2, 3]) {
    await setSqlClock(scene, start + slot * slotMs);
    assert.ok(await claimNonce(database, key, `nonce of slot ${slot}`));
  }
  const known = async () =>
    (await database.query<{ slot: number }>('select slot from nonces order by slot')).map((row) => row.slot);
  await setSqlClock(scene, start + 3 * slotMs + slotMs - 4_500);
  await dropOldNonces(database);
  assert.deepEqual(await known(), [0, 1, 2, 3], 'not when the next slot is about to be used');
  await setSqlClock(scene, start + 3 * slotMs + 60_000);
  await Promise.all([1, 2, 3].map(() => dropOldNonces(database)));
  assert.deepEqual(await known(), [1, 2, 3]);
  await setSqlClock(scene, 0);
});

test('a replica stopped within a transaction holds nobody up for long, and writes nothing when it wakes', async () => {
  await startLeader();
  await aNode(scene);
  const job = await submit();
  const run = await placedRun(job);
  const locked = Promise.withResolvers<void>();
  const woken = Promise.withResolvers<void>();
  const sleeping = createDatabase({ connection: { url: databaseUrl } });
  closers.push(() => sleeping.close());
  const asleep = sleeping.transaction(async (sql) => {
    await lockRuns(sql, [run.id]);
    locked.resolve();
    await woken.promise;
    await sql.query("update jobs set title = 'stale'");
  });
  const refused = assert.rejects(asleep, DatabaseUnavailable);
  await locked.promise;
  const askedAt = performance.now();
  await report(driven(), run, running);
  const waitedMs = performance.now() - askedAt;
  assert.ok(waitedMs > 3_000 && waitedMs < 15_000, `${waitedMs} ms`);
  woken.resolve();
  await refused;
  const [row] = await database.query<{ title: string }>('select title from jobs');
  assert.equal(row?.title, 'a job');
});
