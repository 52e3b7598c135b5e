// Receipts over the API: what they say of every kind of end, and that they never say more than was seen.
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { applyRunEvents } from '../../src/db/run-events.ts';
import { aProof } from '../../src/domain/life-builders.ts';
import type { RunProof, TeardownStep } from '../../src/domain/receipt.ts';
import type { LifeEvent } from '../../src/domain/transition.ts';
import { newId } from '../../src/main/ids.ts';
import type { Receipt } from '../../src/protocol/receipt.ts';
import { type ANode, aJob, aNode } from '../support/builders.ts';
import { exited, type PlacedRun, place, preparing, report, running } from '../support/runs.ts';
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

const receiptOf = (jobId: string, query = '') =>
  admin.ask<Receipt>('GET', `/v1/jobs/${jobId}/receipt${query}`);

const told = (step: TeardownStep, afterMs: number | null = null): LifeEvent => ({
  ...{ kind: 'teardown_step', step, afterMs, text: step === 'stuck' ? 'a process of it lives on' : null },
});
const gone = (proof: Partial<RunProof> = {}): LifeEvent => ({ kind: 'released', proof: aProof(proof) });
const lose = (run: PlacedRun) =>
  applyRunEvents(
    database,
    [{ runId: run.id, from: null, event: () => ({ kind: 'node_lost', reason: 'The node was silent.' }) }],
    {},
  );
const started = (nowMs: number): LifeEvent => ({
  ...{ kind: 'running', startedAtMs: nowMs, imageDigest: null, containerId: 'c0ffee' },
});
const after = (...steps: [step: string, afterMs: number][]) =>
  steps.map(([step, afterMs]) => ({ step, afterMs }));

/** `step state clock ms`, without those that were not needed; the server's own milliseconds differ each time. */
function shown({ steps }: Receipt): string[] {
  return steps
    .filter(({ state }) => state !== 'not_needed')
    .map(({ step, state, clock, ms }) =>
      [step, state, ...(clock === null ? [] : [clock]), ...(clock === 'agent' ? [ms] : [])].join(' '),
    );
}

const words = (receipt: Receipt) =>
  Object.fromEntries(Object.entries(receipt.proof).map(([part, { state }]) => [part, state]));

test('while the run goes on there is nothing to prove', async () => {
  const { job, run } = await aPlacedJob();
  await report(server, run, started);
  const { uuid: waiting } = await admin.createJob(aJob());
  for (const [id, runId] of [
    [job.uuid, run.id],
    [waiting, null],
  ] as const) {
    const receipt = await receiptOf(id);
    assert.deepEqual([receipt.state, receipt.run_uuid, receipt.steps], [null, runId, []]);
    assert.deepEqual([receipt.stop, receipt.exit, receipt.verified_at], [null, null, null]);
    assert.match(receipt.summary, /nothing to prove/);
    assert.deepEqual(new Set(Object.values(words(receipt))), new Set(['open']));
  }
});

test('PENDING and stopped: nothing ever existed, and that is verified', async () => {
  const { uuid } = await admin.createJob(aJob());
  const stopped = await admin.stopJob(uuid, { reason: 'not needed' });
  const receipt = await receiptOf(uuid);
  assert.deepEqual([receipt.state, receipt.run_uuid, receipt.job_status], ['verified', null, 'CANCELLED']);
  assert.deepEqual(shown(receipt), ['requested done server', 'verified done server']);
  assert.deepEqual(new Set(Object.values(words(receipt))), new Set(['none']));
  assert.deepEqual([receipt.requested_at, receipt.verified_at], [stopped.completed_at, stopped.completed_at]);
  const { id: key_uuid, publicKey: public_key } = server.adminKey;
  assert.deepEqual(receipt.stop, {
    text: 'not needed',
    by: { kind: 'key', key_uuid, public_key, address: '127.0.0.1' },
    at: stopped.completed_at,
  });
});

test('RUNNING and stopped: open step by step, then verified, each step by its own clock', async () => {
  const { job, run } = await aPlacedJob();
  await report(server, run, started);
  await admin.stopJob(job.uuid, { reason: 'enough', stop_grace_ms: 4_000 });
  const first = await receiptOf(job.uuid);
  assert.deepEqual([first.state, first.grace_ms, first.is_stuck], ['open', 4_000, false]);
  const rest = [
    ...['log_stored open', 'removed open', 'processes_gone open', 'networks_gone open'],
    ...['volumes_gone open', 'gpus_clean open', 'verified open'],
  ];
  const asked = ['requested done server', 'ports_closed done server'];
  const ladder = ['delivered open', 'signalled open', 'killed open', 'exited open'];
  assert.deepEqual(shown(first), [...asked, ...ladder, ...rest]);
  assert.deepEqual([words(first).ports, words(first).tokens], ['proved', 'proved']);

  await report(server, run, told('delivered', 0));
  await report(server, run, told('signalled', 7));
  const second = await receiptOf(job.uuid);
  assert.deepEqual(shown(second).slice(2, 5), [
    ...['delivered done server', 'signalled done agent 7', 'killed open'],
  ]);
  await report(server, run, exited(143));
  const third = await receiptOf(job.uuid);
  // Whether a KILL was needed is known with the proof.
  assert.deepEqual(shown(third).slice(4, 6), ['exited done server', 'log_stored open']);
  assert.match(third.summary, /still open: log_stored, removed, /);

  const steps = after(
    ['delivered', 0],
    ['signalled', 7],
    ['exited', 40],
    ['log_stored', 45],
    ['removed', 60],
  );
  const looks = after(['processes_gone', 63], ['networks_gone', 63], ['volumes_gone', 63]);
  await report(server, run, gone({ steps: [...steps, ...looks] }));
  const last = await receiptOf(job.uuid);
  assert.deepEqual([last.state, last.summary], ['verified', 'Nothing of the run is left.']);
  assert.deepEqual(shown(last), [
    ...[...asked, 'delivered done server', 'signalled done agent 7', 'exited done agent 40'],
    ...['log_stored done agent 45', 'removed done agent 60', 'processes_gone done agent 63'],
    ...['networks_gone done agent 63', 'verified done server'],
  ]);
  assert.deepEqual([last.exit?.code, last.container_id, last.grace_ms], [143, 'c0ffee', 4_000]);
  assert.deepEqual(words(last), {
    ...{ container: 'proved', processes: 'proved', networks: 'proved', volumes: 'none', gpus: 'none' },
    ...{ ports: 'proved', tokens: 'proved', log: 'proved' },
  });
  assert.deepEqual(last.cause, last.stop && { code: 'stopped', text: 'enough', by: last.stop.by });
  const at = (step: string) => last.steps.find((one) => one.step === step);
  const requestedMs = Date.parse(last.requested_at ?? '');
  assert.equal(Date.parse(last.verified_at ?? '') - requestedMs, at('verified')?.ms);
  assert.equal(at('requested')?.ms, 0);
  const notNeeded = last.steps.filter(({ state }) => state === 'not_needed').map(({ step }) => step);
  assert.deepEqual(notNeeded, ['killed', 'volumes_gone', 'gpus_clean']);
});

test('a later life of the agent cannot vouch for what it did not see', async () => {
  const { job, run } = await aPlacedJob();
  await report(server, run, started);
  await admin.stopJob(job.uuid);
  await report(server, run, told('delivered', 0));
  await report(server, run, told('signalled', 5));
  // Killed here; the next life finds the container dead.
  const steps = after(
    ['delivered', 0],
    ['exited', 1],
    ['removed', 30],
    ['processes_gone', 33],
    ['networks_gone', 33],
  );
  await report(server, run, gone({ isWhole: false, isLogComplete: null, steps }));
  const receipt = await receiptOf(job.uuid);
  assert.equal(receipt.state, 'verified', 'the last look was at everything');
  const seen = new Map(receipt.steps.map((step) => [step.step, step]));
  assert.deepEqual([seen.get('signalled')?.state, seen.get('signalled')?.ms], ['done', 5]);
  assert.equal(seen.get('killed')?.state, 'not_observed');
  assert.equal(seen.get('log_stored')?.state, 'not_observed');
  assert.equal(words(receipt).log, 'not_observed');
});

test('what could not be looked at, and a GPU that is not clean, leave it unverified with the reason', async () => {
  const unseen = await aPlacedJob();
  await admin.stopJob(unseen.job.uuid);
  const why = 'The engine runs its containers elsewhere.';
  await report(server, unseen.run, gone({ processes: { state: 'not_seen', why } }));
  const first = await receiptOf(unseen.job.uuid);
  assert.deepEqual([first.state, words(first).processes], ['unverified', 'not_observed']);
  assert.equal(first.summary, `The end is not proved: ${why}`);
  assert.equal((await admin.getJob(unseen.job.uuid)).teardown?.state, 'unverified');

  const dirty = await aPlacedJob();
  await admin.stopJob(dirty.job.uuid);
  const gpu = { uuid: 'GPU-1', why: '900 MiB are in use, 10 MiB were before', baselineMib: 10, usedMib: 900 };
  await report(server, dirty.run, gone({ gpus: [{ ...gpu, state: 'dirty' }] }));
  const second = await receiptOf(dirty.job.uuid);
  assert.deepEqual([second.state, words(second).gpus], ['unverified', 'failed']);
  assert.deepEqual(second.gpus, [
    { uuid: 'GPU-1', state: 'dirty', text: gpu.why, baseline_mib: 10, used_mib: 900 },
  ]);
  assert.match(second.summary, /GPU GPU-1: 900 MiB are in use/);

  const silent = await aPlacedJob();
  await admin.stopJob(silent.job.uuid);
  await report(server, silent.run, { kind: 'released', proof: null });
  const third = await receiptOf(silent.job.uuid);
  assert.deepEqual([third.state, words(third).container], ['unverified', 'not_observed']);
  assert.match(third.summary, /did not say what it saw/);
});

test('a cut log is said so, in the receipt and with the log, and is no leak', async () => {
  const { job, run } = await aPlacedJob();
  await report(server, run, started);
  assert.equal((await admin.getLogs(run.id)).is_end_stored, null);
  await report(server, run, exited(0));
  await report(server, run, gone({ isLogComplete: false }));
  const receipt = await receiptOf(job.uuid);
  assert.deepEqual([receipt.state, words(receipt).log], ['verified', 'failed']);
  assert.ok(shown(receipt).includes('log_stored failed'));
  const { is_complete, is_end_stored } = await admin.getLogs(run.id);
  assert.deepEqual([is_complete, is_end_stored], [true, false]);
});

test('a job that ended by itself has its proof too', async () => {
  const { job, run } = await aPlacedJob();
  await report(server, run, started);
  await report(server, run, exited(3));
  const open = await receiptOf(job.uuid);
  assert.deepEqual([open.state, open.stop, open.requested_at], ['open', null, null]);
  assert.deepEqual(shown(open).slice(0, 2), ['ports_closed done server', 'exited done server']);
  await report(server, run, gone({ steps: after(['exited', 0], ['log_stored', 2], ['removed', 20]) }));
  const receipt = await receiptOf(job.uuid);
  assert.deepEqual([receipt.state, receipt.job_status, receipt.exit?.code], ['verified', 'FAILED', 3]);
  assert.equal(receipt.cause?.code, 'exited');
  const asked = receipt.steps.filter(({ step }) => ['requested', 'delivered', 'killed'].includes(step));
  assert.deepEqual(new Set(asked.map(({ state }) => state)), new Set(['not_needed']));
});

test('stopped while it was prepared: no container ran, and nobody pretends one did', async () => {
  const { job, run } = await aPlacedJob();
  await report(server, run, preparing);
  await admin.stopJob(job.uuid);
  await report(server, run, told('delivered', 0));
  const error = { code: 'cancelled', message: 'The job run was stopped before its container started.' };
  const none = { state: 'none', why: null } as const;
  const end = { ...{ exitCode: null, exitSignal: null, isOomKilled: false }, error, lastLogLines: '' };
  await report(server, run, (nowMs) => ({ kind: 'exited', end: { ...end, endedAtMs: nowMs } }));
  await report(server, run, gone({ container: none, processes: none, networks: none }));
  const receipt = await receiptOf(job.uuid);
  assert.deepEqual([receipt.state, receipt.exit, receipt.container_id], ['verified', null, null]);
  assert.deepEqual(shown(receipt), [
    ...['requested done server', 'ports_closed done server', 'delivered done server', 'verified done server'],
  ]);
});

test('a lost node leaves it unverified; what it proves when it comes back is added, once', async () => {
  const { job, run } = await aPlacedJob({ task: 'PERSISTENT', max_timeout_run_ms: undefined });
  await report(server, run, started);
  await admin.stopJob(job.uuid);
  await lose(run);
  const lost = await receiptOf(job.uuid);
  assert.deepEqual([lost.state, lost.verified_at, lost.run_status], ['unverified', null, 'CANCELLED']);
  assert.match(lost.summary, /The node was silent\. .* when the node comes back it removes/);
  assert.ok(shown(lost).includes('exited not_observed'));
  assert.equal(words(lost).container, 'not_observed');
  assert.deepEqual([words(lost).ports, words(lost).tokens], ['proved', 'proved']);

  const before = await admin.getRun(run.id);
  await report(
    server,
    run,
    gone({ isWhole: false, isLogComplete: null, steps: after(['killed', 0], ['removed', 9]) }),
  );
  const proved = await receiptOf(job.uuid);
  assert.deepEqual([proved.state, words(proved).log], ['verified', 'not_observed']);
  assert.ok(Date.parse(proved.verified_at ?? '') >= Date.parse(lost.requested_at ?? ''));
  const now = await admin.getRun(run.id);
  assert.equal(now.teardown?.state, 'verified');
  assert.deepEqual([now.status, now.ended_at_ms], [before.status, before.ended_at_ms], 'and nothing else');
  const again = await report(server, run, gone({ processes: { state: 'not_seen', why: 'x' } }));
  assert.equal(again.kind, 'ignored');
  const [row] = await database.query<{ runs: number }>('select run_count as runs from nodes where id = $1', [
    node.id,
  ]);
  assert.ok((row?.runs ?? -1) >= 0, 'its share was given back once');
});

test('a run that does not end is open and says that it is stuck', async () => {
  const { job, run } = await aPlacedJob();
  await report(server, run, started);
  await admin.stopJob(job.uuid);
  await report(server, run, told('killed', 10_000));
  await report(server, run, told('stuck'));
  const receipt = await receiptOf(job.uuid);
  assert.deepEqual([receipt.state, receipt.is_stuck], ['open', true]);
  assert.match(receipt.summary, /past its deadline and goes on: a process of it lives on/);
});

test('earlier runs have receipts of their own, by the job or by the run', async () => {
  const { job, run } = await aPlacedJob({ max_retry_count: 1 });
  await report(server, run, started);
  await report(server, run, exited(1));
  await report(server, run, gone());
  const second = await place(server, job.uuid, node.id);
  assert.equal((await receiptOf(job.uuid)).run_uuid, second.id);
  const first = await receiptOf(job.uuid, `?run_uuid=${run.id}`);
  assert.deepEqual([first.run_uuid, first.attempt, first.state], [run.id, 1, 'verified']);
  assert.deepEqual(await admin.ask('GET', `/v1/job-runs/${run.id}/receipt`), first);
  const other = await aPlacedJob();
  for (const id of [other.run.id, newId()]) {
    const refusal = await admin.refusal('GET', `/v1/jobs/${job.uuid}/receipt?run_uuid=${id}`);
    assert.deepEqual([refusal.status, refusal.code], [404, 'not_found']);
  }
  const issues = await admin.issues('GET', `/v1/jobs/${job.uuid}/receipt?run_uuid=7&run=1`);
  assert.deepEqual([...issues.keys()], ['run_uuid', 'run']);
});

test('stopped between a failed run and its retry: the stop is told with the proof of that run', async () => {
  const { job, run } = await aPlacedJob({ max_retry_count: 1 });
  await report(server, run, running);
  await report(server, run, exited(1));
  await report(server, run, gone());
  await admin.stopJob(job.uuid, { reason: 'give up' });
  const receipt = await receiptOf(job.uuid);
  assert.deepEqual(
    [receipt.state, receipt.run_status, receipt.stop?.text],
    ['verified', 'FAILED', 'give up'],
  );
});
