// Stop Job in every state, races both ways, and the SQL that decides it against the domain's own step.
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { stopJob } from '../../src/db/job-stops.ts';
import { lockRuns, toJobState, toLockedRun } from '../../src/db/run-event-rows.ts';
import { applyRunEvents } from '../../src/db/run-events.ts';
import {
  isTerminal,
  type JobRunStatus,
  type JobStatus,
  jobRunStatuses,
  jobStatuses,
} from '../../src/domain/job.ts';
import { type LifeEvent, transition } from '../../src/domain/transition.ts';
import { newId } from '../../src/main/ids.ts';
import { type ANode, aJob, aNode } from '../support/builders.ts';
import {
  exited,
  type PlacedRun,
  place,
  preparing,
  released,
  report,
  running,
  tryPlace,
} from '../support/runs.ts';
import { startTestServer } from '../support/server.ts';

const server = await startTestServer({ hasScheduler: false });
const { admin, database } = server;
let node: ANode;

before(async () => {
  node = await aNode(server, { cpus: 1_000 });
});

async function aPlacedJob(fields: Parameters<typeof aJob>[0] = {}) {
  const job = await admin.createJob(aJob(fields));
  return { job, run: await place(server, job.uuid, node.id) };
}

async function runOf(run: PlacedRun) {
  return admin.getRun(run.id);
}

/** `kind from to` of the job's events, oldest first. */
async function eventsOf(jobId: string): Promise<string[]> {
  const rows = await database.query<{ text: string }>(
    "select concat_ws(' ', kind, from_status, to_status) as text from job_events where job_id = $1 order by id",
    [jobId],
  );
  return rows.map((row) => row.text);
}

test('PENDING: CANCELLED at once, never placed', async () => {
  const { uuid } = await admin.createJob(aJob());
  const job = await admin.stopJob(uuid, { reason: 'not needed' });
  assert.deepEqual([job.status, job.status_reason, job.teardown], ['CANCELLED', 'not needed', null]);
  assert.equal(job.timeout_assign_at_ms, null);
  assert.ok(job.completed_at);
  assert.equal(await tryPlace(server, uuid, node.id), null);
  assert.equal((await admin.listRuns({ 'filter[job_uuid]': uuid })).total, 0);
  assert.deepEqual(await eventsOf(uuid), ['submitted PENDING', 'stop_requested PENDING CANCELLED']);
});

const live: [state: string, events: (LifeEvent | ((nowMs: number) => LifeEvent))[]][] = [
  ['ASSIGNED', []],
  ['PREPARING', [preparing]],
  ['RUNNING', [running]],
];
for (const [state, events] of live) {
  test(`${state}: the job is CANCELLED at once, the run when its end is proved`, async () => {
    const { job, run } = await aPlacedJob();
    for (const event of events) await report(server, run, event);
    assert.equal((await runOf(run)).status, state);
    const stopped = await admin.stopJob(job.uuid, { reason: 'enough' });
    assert.deepEqual([stopped.status, stopped.status_reason], ['CANCELLED', 'enough']);
    assert.equal(stopped.teardown?.state, 'requested');
    const wait =
      Date.parse(stopped.teardown?.deadline_at ?? '') - Date.parse(stopped.teardown?.requested_at ?? '');
    assert.equal(wait, 40_000, 'the default grace and the margin of the ladder');
    const cancelling = await runOf(run);
    assert.deepEqual([cancelling.status, cancelling.status_reason], ['CANCELLING', 'enough']);
    for (const [step, told] of [
      ['signalled', 'signalled'],
      ['killed', 'killed'],
      ['signalled', 'killed'],
    ] as const) {
      await report(server, run, { kind: 'teardown_step', step, afterMs: 3, text: null });
      assert.equal((await admin.getJob(job.uuid)).teardown?.state, told);
    }
    await report(server, run, exited(143));
    assert.equal((await runOf(run)).status, 'CANCELLING', 'an exit alone proves nothing');
    await report(server, run, released);
    const gone = await runOf(run);
    assert.deepEqual([gone.status, gone.teardown?.state, gone.exit_code], ['CANCELLED', 'verified', 143]);
    const after = await admin.getJob(job.uuid);
    assert.deepEqual(
      [after.status, after.status_reason, after.teardown?.state],
      ['CANCELLED', 'enough', 'verified'],
    );
  });
}

test('FAILING with a retry due: the retry is called off', async () => {
  const { job, run } = await aPlacedJob({ max_retry_count: 2 });
  await report(server, run, running);
  await applyRunEvents(database, [{ runId: run.id, from: null, event: () => ({ kind: 'run_timeout' }) }], {});
  assert.deepEqual(
    [(await runOf(run)).status, (await admin.getJob(job.uuid)).status],
    ['FAILING', 'RUNNING'],
  );
  const stopped = await admin.stopJob(job.uuid, { reason: 'give up' });
  assert.equal(stopped.status, 'CANCELLED');
  await report(server, run, released);
  assert.equal((await runOf(run)).status, 'FAILED');
  const after = await admin.getJob(job.uuid);
  assert.deepEqual([after.status, after.status_reason], ['CANCELLED', 'give up']);
  assert.equal(await tryPlace(server, job.uuid, node.id), null);
});

for (const [status, code] of [
  ['COMPLETED', 0],
  ['FAILED', 3],
] as const) {
  test(`${status}: 200 and nothing changes`, async () => {
    const { job, run } = await aPlacedJob();
    await report(server, run, running);
    await report(server, run, exited(code));
    await report(server, run, released);
    const { queue_position: _, ...ended } = await admin.getJob(job.uuid);
    assert.equal(ended.status, status);
    assert.deepEqual(await admin.stopJob(job.uuid, { reason: 'too late' }), ended);
  });
}

test('the first reason stands, however often it is repeated', async () => {
  const { job } = await aPlacedJob();
  const first = await admin.stopJob(job.uuid, { reason: 'first' });
  const second = await admin.stopJob(job.uuid, { reason: 'second', stop_grace_ms: 0 });
  assert.deepEqual(second, first);
  assert.equal((await eventsOf(job.uuid)).filter((text) => text.startsWith('stop_requested')).length, 1);
});

test('unknown, malformed and foreign ids are 404', async () => {
  for (const id of [newId(), 'x', '%2e%2e', "'; drop table jobs; --"].map(encodeURIComponent)) {
    const refusal = await admin.refusal('PUT', `/v1/jobs/${id}/cancel`);
    assert.deepEqual([refusal.status, refusal.code], [404, 'not_found'], id);
  }
});

test('no body, an empty JSON body and an empty object stop it for "Cancelled by user"', async () => {
  const empties = [{}, { raw: '', headers: { 'Content-Type': 'application/json' } }, { body: {} }];
  for (const options of [...empties, { body: { reason: '' } }, { body: { reason: null, wait_ms: null } }]) {
    const { uuid } = await admin.createJob(aJob());
    const { status, body } = await admin.send<{ status_reason: string }>(
      'PUT',
      `/v1/jobs/${uuid}/cancel`,
      options,
    );
    assert.deepEqual([status, body.status_reason], [200, 'Cancelled by user']);
  }
});

test('a wrong body is 400 and stops nothing', async () => {
  const { uuid } = await admin.createJob(aJob());
  const body = { reason: 7, stop_grace_ms: 300_001, wait_ms: 60_001, why: 'x' };
  const issues = await admin.issues('PUT', `/v1/jobs/${uuid}/cancel`, { body });
  assert.deepEqual([...issues.keys()].sort(), ['reason', 'stop_grace_ms', 'wait_ms', 'why']);
  const long = await admin.issues('PUT', `/v1/jobs/${uuid}/cancel`, { body: { reason: 'x'.repeat(1025) } });
  assert.deepEqual([...long.keys()], ['reason']);
  assert.equal((await admin.getJob(uuid)).status, 'PENDING');
  const reason = 'ä'.repeat(1024);
  assert.equal((await admin.stopJob(uuid, { reason })).status_reason, reason);
});

test('who stopped it, with which key and from where, is kept beside the reason', async () => {
  const { uuid } = await admin.createJob(aJob());
  const { status_detail: detail } = await admin.stopJob(uuid, { reason: 'why not' });
  const { id: key_uuid, publicKey: public_key } = server.adminKey;
  const by = { kind: 'key', key_uuid, public_key, address: '127.0.0.1' };
  assert.deepEqual(detail, { code: 'stopped', text: 'why not', by });
  const [event] = await database.query<{ actor: object; detail: object }>(
    "select actor, detail from job_events where job_id = $1 and kind = 'stop_requested'",
    [uuid],
  );
  assert.deepEqual([event?.actor, event?.detail], [by, detail]);
});

test('the grace is the call’s, else the job’s, else ten seconds', async () => {
  const graces: [own: number | undefined, called: number | undefined, expected: number][] = [
    [undefined, undefined, 10_000],
    [2_000, undefined, 2_000],
    [2_000, 0, 0],
    [undefined, 5_000, 5_000],
  ];
  for (const [own, called, expected] of graces) {
    const { job, run } = await aPlacedJob({ container: { stop_grace_ms: own } });
    await admin.stopJob(job.uuid, { stop_grace_ms: called });
    const [row] = await database.query<{ grace: number }>(
      'select stop_grace_ms as grace from job_runs where id = $1',
      [run.id],
    );
    assert.equal(row?.grace, expected);
  }
});

test('20 stops at once: all 200, one decision', async () => {
  const { job } = await aPlacedJob();
  const answers = await Promise.all(
    Array.from({ length: 20 }, (_, index) => admin.stopJob(job.uuid, { reason: `reason ${index}` })),
  );
  assert.equal(new Set(answers.map((answer) => answer.status_reason)).size, 1);
  assert.deepEqual(await eventsOf(job.uuid), [
    'submitted PENDING',
    'placed PENDING ASSIGNED',
    'stop_requested ASSIGNED CANCELLED',
  ]);
});

test('stop against placement: either it was never placed, or its run is being stopped', async () => {
  const outcomes = { unplaced: 0, placed: 0 };
  for (let round = 0; round < 40; round += 1) {
    const { uuid } = await admin.createJob(aJob());
    const [run, stopped] = await Promise.all(
      round % 2 === 0
        ? [tryPlace(server, uuid, node.id), admin.stopJob(uuid)]
        : [admin.stopJob(uuid).then(() => tryPlace(server, uuid, node.id)), admin.getJob(uuid)],
    );
    assert.ok(stopped.status);
    const job = await admin.getJob(uuid);
    assert.equal(job.status, 'CANCELLED');
    if (run === null) {
      outcomes.unplaced += 1;
      assert.equal((await admin.listRuns({ 'filter[job_uuid]': uuid })).total, 0);
    } else {
      outcomes.placed += 1;
      assert.equal((await runOf(run)).status, 'CANCELLING');
      const [row] = await database.query<{ desired: string }>('select desired from job_runs where id = $1', [
        run.id,
      ]);
      assert.equal(row?.desired, 'stop');
    }
  }
  assert.ok(outcomes.unplaced > 0, JSON.stringify(outcomes));
});

test('stop after a placement that is not committed yet sees the run', async () => {
  const { uuid } = await admin.createJob(aJob());
  let stopping: ReturnType<typeof admin.stopJob> | undefined;
  const run = await database.transaction(async (sql) => {
    const placed = await place({ ...server, database: { ...database, query: sql.query } }, uuid, node.id);
    stopping = admin.stopJob(uuid);
    await new Promise((resolve) => setTimeout(resolve, 100));
    return placed;
  });
  assert.equal((await stopping)?.status, 'CANCELLED');
  assert.equal((await runOf(run)).status, 'CANCELLING');
});

for (const first of ['stop', 'completion'] as const) {
  test(`stop against completion, ${first} first: the first decision stands`, async () => {
    const { job, run } = await aPlacedJob();
    await report(server, run, running);
    if (first === 'stop') {
      assert.equal((await admin.stopJob(job.uuid)).status, 'CANCELLED');
      await report(server, run, exited(0));
      await report(server, run, released);
    } else {
      await report(server, run, exited(0));
      assert.equal((await admin.stopJob(job.uuid)).status, 'COMPLETED');
      await report(server, run, released);
    }
    const expected = first === 'stop' ? 'CANCELLED' : 'COMPLETED';
    assert.deepEqual(
      [(await admin.getJob(job.uuid)).status, (await runOf(run)).status],
      [expected, expected],
    );
  });
}

test('stop against completion at once: job and run tell the same', async () => {
  for (let round = 0; round < 30; round += 1) {
    const { job, run } = await aPlacedJob();
    await report(server, run, running);
    const [answer] = await Promise.all([admin.stopJob(job.uuid), report(server, run, exited(0))]);
    const after = await admin.getJob(job.uuid);
    assert.equal(after.status, answer.status, 'the answer is what stands');
    assert.equal((await runOf(run)).status, after.status === 'COMPLETED' ? 'COMPLETED' : 'CANCELLING');
  }
});

test('after the decision no late report changes anything', async () => {
  const { job, run } = await aPlacedJob({ max_retry_count: 5 });
  await report(server, run, running);
  await admin.stopJob(job.uuid, { reason: 'done' });
  await report(server, run, released);
  const before = await admin.getRun(run.id);
  const late = [preparing, running, exited(0), exited(1), released];
  for (const event of late) assert.equal((await report(server, run, event)).kind, 'ignored');
  assert.equal((await report(server, { ...run, attempt: run.attempt + 1 }, running)).kind, 'ignored');
  assert.equal((await report(server, { ...run, nodeId: newId() }, running)).kind, 'refused');
  for (const kind of ['start_timeout', 'run_timeout'] as const) {
    const [answer] = await applyRunEvents(
      database,
      [{ runId: run.id, from: null, event: () => ({ kind }) }],
      {},
    );
    assert.equal(answer?.kind, 'ignored');
  }
  assert.deepEqual(await admin.getRun(run.id), before);
  assert.equal((await admin.getJob(job.uuid)).status_reason, 'done');
  assert.equal(await tryPlace(server, job.uuid, node.id), null);
});

test('resources return when the end is proved, not before', async () => {
  const allocated = async () => {
    const [row] = await database.query<{ runs: number }>(
      'select run_count as runs from nodes where id = $1',
      [node.id],
    );
    return row?.runs ?? -1;
  };
  const atRest = await allocated();
  const { job, run } = await aPlacedJob();
  await admin.stopJob(job.uuid);
  assert.equal(await allocated(), atRest + 1);
  await report(server, run, released);
  await report(server, run, released);
  assert.equal(await allocated(), atRest);
});

test('wait_ms answers when the teardown ends, or when the time is up', async () => {
  const { job, run } = await aPlacedJob();
  const impatient = await admin.stopJob(job.uuid, { wait_ms: 50 });
  assert.equal(impatient.teardown?.state, 'requested');
  const waiting = admin.stopJob(job.uuid, { wait_ms: 20_000 });
  await new Promise((resolve) => setTimeout(resolve, 50));
  await report(server, run, released);
  assert.equal((await waiting).teardown?.state, 'verified');
});

test('what the stop writes is whole or not at all', async () => {
  const { job, run } = await aPlacedJob();
  await database.query(
    "alter table job_events add constraint no_stops check (kind <> 'stop_requested') not valid",
  );
  const refusal = await admin.refusal('PUT', `/v1/jobs/${job.uuid}/cancel`);
  await database.query('alter table job_events drop constraint no_stops');
  assert.equal(refusal.status, 500);
  assert.deepEqual(
    [(await admin.getJob(job.uuid)).status, (await runOf(run)).status],
    ['ASSIGNED', 'ASSIGNED'],
  );
});

/** A job and its run in these very states, as no life of their own may have brought them there. */
async function inStates(jobStatus: JobStatus, runStatus: JobRunStatus | null) {
  const { uuid } = await admin.createJob(aJob({ max_retry_count: 1, container: { stop_grace_ms: 700 } }));
  const run = runStatus === null ? null : await place(server, uuid, node.id);
  await database.query(
    `update jobs set status = $2, timeout_assign_at = case when $2 = 'PENDING' then flotilla_now() end,
       completed_at = case when $3 then flotilla_now() end where id = $1`,
    [uuid, jobStatus, isTerminal(jobStatus)],
  );
  if (run !== null && runStatus !== null) {
    await database.query('update job_runs set status = $2 where id = $1', [run.id, runStatus]);
  }
  return { uuid, run };
}

for (const jobStatus of jobStatuses) {
  test(`the SQL stop and the domain's agree for a job that is ${jobStatus} over every state its run can have`, async () => {
    // A run is CANCELLING by a stop alone, and the stop ended its job.
    const possible = jobRunStatuses.filter((status) => status !== 'CANCELLING' || isTerminal(jobStatus));
    for (const runStatus of possible) {
      const { uuid, run } = await inStates(jobStatus, runStatus);
      assert.ok(run);
      const [before] = await lockRuns(database, [run.id]);
      const reason = { text: 'why', detail: { code: 'stopped' }, graceMs: 700 };
      const stop = { jobId: uuid, accountId: server.storage.account.id, nonce: null, reason: 'why' };
      await stopJob(database, { ...stop, detail: reason.detail, graceMs: null, actor: {} });
      const [after] = await lockRuns(database, [run.id]);
      assert.ok(before && after);
      // The statement stamps with its own time: the domain is asked for that very moment.
      const nowMs = after.teardown_requested_at ?? after.completed_at ?? before.now;
      const outcome = transition(
        { job: toJobState(before), run: toLockedRun(before).run },
        { kind: 'stop_requested', reason },
        nowMs,
      );
      const changed = outcome.kind === 'changed';
      assert.deepEqual(toJobState(after), changed ? outcome.job : toJobState(before), runStatus);
      assert.deepEqual(toLockedRun(after).run, changed ? outcome.run : toLockedRun(before).run, runStatus);
    }
  });
}
