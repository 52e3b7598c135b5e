// Every state that can be reached and every event, held against the state table; and what single steps must say.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type JobRunStatus, jobRunStatuses, jobStatuses } from './job.ts';
import { anEnd, aPendingJob, aPlacedRun, aProof } from './life-builders.ts';
import { teardownSteps } from './receipt.ts';
import { maxLostRetries } from './replacement.ts';
import {
  impossibleCells,
  type Result,
  type RunWord,
  reachableCells,
  stateTableMarkdown,
} from './state-table.ts';
import {
  type JobState,
  type LifeEvent,
  type LifeState,
  type RunState,
  teardownMarginMs,
  transition,
} from './transition.ts';

const now = 1000;
const stop: LifeEvent & { kind: 'stop_requested' } = {
  kind: 'stop_requested',
  reason: { text: 'enough', detail: { by: 'me' }, graceMs: 10 },
};
const aStart = { kind: 'running', startedAtMs: now, imageDigest: null, containerId: null } as const;
/** Each kind of event with what its result may depend on. */
const samples: { [K in LifeEvent['kind']]: readonly (LifeEvent & { kind: K })[] } = {
  placed: [{ kind: 'placed', run: aPlacedRun() }],
  assign_timeout: [{ kind: 'assign_timeout' }],
  stop_requested: [stop],
  preparing: [{ kind: 'preparing', progress: 'half' }],
  running: [{ kind: 'running', startedAtMs: now, imageDigest: null, containerId: null }],
  no_public_port: [{ kind: 'no_public_port', startedAtMs: now }],
  exited: [0, 1].map((exitCode) => ({ kind: 'exited', end: anEnd({ exitCode, endedAtMs: now }) })),
  teardown_step: teardownSteps.map((step) => ({ kind: 'teardown_step', step, afterMs: 1, text: null })),
  released: [aProof(), aProof({ processes: { state: 'not_seen', why: 'x' } }), null].map((proof) => ({
    kind: 'released',
    proof,
  })),
  start_timeout: [{ kind: 'start_timeout' }],
  run_timeout: [{ kind: 'run_timeout' }],
  node_drained: [{ kind: 'node_drained', reason: 'maintenance' }],
  node_lost: [{ kind: 'node_lost', reason: 'no heartbeat' }],
};
const farFuture = 10 ** 9;
const everyEvent: readonly { event: LifeEvent; atMs: number }[] = [
  ...Object.values(samples).flatMap((events) => events.map((event) => ({ event, atMs: now }))),
  { event: { kind: 'assign_timeout' }, atMs: farFuture },
];
const starts: readonly LifeState[] = [0, 1, maxLostRetries + 2].map((maxRetryCount) => ({
  job: aPendingJob({ maxRetryCount }),
  run: null,
}));

/** Cell → event kind → every result seen, over all states that any order of events can reach. */
function explore(): Map<string, Map<string, Set<string>>> {
  const seen = new Set<string>();
  const table = new Map<string, Map<string, Set<string>>>();
  const open = [...starts];
  for (let state = open.pop(); state !== undefined; state = open.pop()) {
    const key = JSON.stringify(state);
    if (seen.has(key)) continue;
    seen.add(key);
    const row = entry(table, cellOf(state), () => new Map<string, Set<string>>());
    for (const { event, atMs } of everyEvent) {
      const { result, next } = step(state, event, atMs);
      entry(row, event.kind, () => new Set<string>()).add(result);
      if (next !== null) open.push(next);
    }
  }
  return table;
}

function step(state: LifeState, event: LifeEvent, atMs: number): { result: Result; next: LifeState | null } {
  const outcome = transition(state, event, atMs);
  if (outcome.kind === 'ignored') return { result: 'ignored', next: null };
  const next = { job: outcome.job, run: outcome.run };
  return { result: cellOf(next) === cellOf(state) ? 'same' : cellOf(next), next };
}

function cellOf({ job, run }: LifeState): `${JobState['status']}/${RunWord}` {
  return `${job.status}/${run === null ? 'none' : run.status}`;
}

function entry<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  const found = map.get(key) ?? make();
  map.set(key, found);
  return found;
}

const kinds = [...new Set(everyEvent.map(({ event }) => event.kind))];
const explored = explore();

test('the table names every pair of statuses once, as reachable or as impossible with a reason', () => {
  const named = [
    ...reachableCells.map(({ job, run }) => `${job}/${run}`),
    ...impossibleCells.flatMap(({ job, runs }) => runs.map((run) => `${job}/${run}`)),
  ];
  const words: RunWord[] = ['none', ...jobRunStatuses];
  const pairs = jobStatuses.flatMap((job) => words.map((run) => `${job}/${run}`));
  assert.deepEqual(named.toSorted(), pairs.toSorted());
});

test('exactly the reachable pairs of the table are reached', () => {
  assert.deepEqual(
    [...explored.keys()].toSorted(),
    reachableCells.map(({ job, run }) => `${job}/${run}`).toSorted(),
  );
});

for (const { job, run, on } of reachableCells) {
  test(`${job}/${run}: each event has exactly the results of the table`, () => {
    for (const kind of kinds) {
      const results = [...(explored.get(`${job}/${run}`)?.get(kind) ?? [])];
      assert.deepEqual(results.toSorted(), [...(on[kind] ?? ['ignored'])].toSorted(), kind);
    }
  });
}

test('the Markdown shows all pairs, and no pair is left undescribed', () => {
  const markdown = stateTableMarkdown();
  assert.equal(markdown.split('\n').filter((line) => line.startsWith('| **')).length, jobStatuses.length);
  assert.ok(!markdown.includes('not described'));
});

const runningJob = aPendingJob({ status: 'RUNNING', startedAtMs: 100, timeoutAssignAtMs: null });
const runningRun = aPlacedRun({ status: 'RUNNING', startedAtMs: 100, runDeadlineAtMs: 60_100 });

test('a start sets the run deadline from the start itself, and none without a limit', () => {
  const state = { job: aPendingJob({ status: 'ASSIGNED' }), run: aPlacedRun() };
  const started = change(state, { ...aStart, startedAtMs: 700, imageDigest: 'sha256:1' }, now);
  assert.equal(started.run?.runDeadlineAtMs, 60_700);
  assert.equal(started.job.startedAtMs, 700);
  assert.equal(started.run?.imageDigest, 'sha256:1');
  const unlimited = { ...state, job: { ...state.job, maxTimeoutRunMs: null } };
  const endless = change(unlimited, { ...aStart, startedAtMs: 700 }, now);
  assert.equal(endless.run?.runDeadlineAtMs, null);
});

test('a start that a node’s clock puts before the assignment counts from the assignment', () => {
  const state = { job: aPendingJob({ status: 'ASSIGNED' }), run: aPlacedRun({ assignedAtMs: 500 }) };
  const started = change(state, { ...aStart, startedAtMs: -3_600_000 }, now);
  assert.equal(started.run?.startedAtMs, 500);
  assert.equal(started.run?.runDeadlineAtMs, 60_500);
  const portless = change(state, { kind: 'no_public_port', startedAtMs: -3_600_000 }, now);
  assert.equal(portless.run?.startedAtMs, 500);
});

test('a stop asks for teardown with the grace, and the first reason stands', () => {
  const stopped = change({ job: runningJob, run: runningRun }, stop, now);
  assert.equal(stopped.run?.desired, 'stop');
  assert.deepEqual(stopped.run?.teardown, {
    state: 'requested',
    requestedAtMs: now,
    deadlineAtMs: now + 10 + teardownMarginMs,
  });
  assert.equal(stopped.job.statusReason, 'enough');
  assert.equal(stopped.job.completedAtMs, now);
  const again = transition(stopped, stop, now + 1);
  assert.equal(again.kind, 'ignored');
});

test('an exit reported before the stop keeps the job COMPLETED', () => {
  const done = change(
    { job: runningJob, run: runningRun },
    { kind: 'exited', end: anEnd({ endedAtMs: 900 }) },
    now,
  );
  assert.equal(transition(done, stop, now).kind, 'ignored');
  assert.equal(done.job.status, 'COMPLETED');
  assert.equal(done.run?.endedAtMs, 900);
});

test('an exit after the stop is kept as evidence and changes neither status', () => {
  const stopped = change({ job: runningJob, run: runningRun }, stop, now);
  const seen = change(stopped, { kind: 'exited', end: anEnd({ exitCode: 0, endedAtMs: 1100 }) }, 1200);
  assert.equal(seen.job.status, 'CANCELLED');
  assert.equal(seen.run?.status, 'CANCELLING');
  assert.deepEqual([seen.run?.exitCode, seen.run?.endedAtMs], [0, 1100]);
});

test('a late start report after the end never puts the start after the end', () => {
  const stopped = change({ job: aPendingJob({ status: 'ASSIGNED' }), run: aPlacedRun() }, stop, now);
  const ended = change(stopped, { kind: 'exited', end: anEnd({ exitCode: 143, endedAtMs: 1100 }) }, 1200);
  const late = change(ended, { ...aStart, startedAtMs: 1150 }, 1300);
  assert.ok((late.run?.startedAtMs ?? Number.POSITIVE_INFINITY) <= (late.run?.endedAtMs ?? 0));
});

test('a failed run with a retry left returns the job with a fresh deadline and avoids the node', () => {
  const job = { ...runningJob, maxRetryCount: 1 };
  const retried = change({ job, run: runningRun }, { kind: 'exited', end: anEnd({ exitCode: 3 }) }, now);
  assert.equal(retried.job.status, 'PENDING');
  assert.equal(retried.job.timeoutAssignAtMs, now + job.maxTimeoutAssignMs);
  assert.deepEqual(retried.job.avoidNodeIds, ['node-1']);
  assert.equal(retried.job.failedRunCount, 1);
});

test('a lost node uses no retry, at most three times, and fences what it held', () => {
  const lostOften = (lostRunCount: number, maxRetryCount: number) =>
    change(
      { job: { ...runningJob, maxRetryCount, lostRunCount }, run: runningRun },
      { kind: 'node_lost', reason: 'silent' },
      now,
    );
  assert.equal(lostOften(0, 1).job.status, 'PENDING');
  assert.equal(lostOften(0, 1).job.failedRunCount, 0);
  assert.equal(lostOften(2, 1).job.status, 'PENDING');
  assert.equal(lostOften(3, 1).job.status, 'FAILED');
  assert.equal(lostOften(0, 0).job.status, 'FAILED');
  assert.equal(lostOften(0, 0).run?.releasedAtMs, now);
});

test('a persistent job is replaced on a lost node where it says so, whatever its retries', () => {
  const lose = (wish: Partial<JobState>) =>
    change(
      { job: { ...runningJob, task: 'PERSISTENT', ...wish }, run: runningRun },
      { kind: 'node_lost', reason: 'silent' },
      now,
    ).job;
  assert.equal(lose({ onNodeLost: 'replace' }).status, 'PENDING');
  assert.equal(lose({ onNodeLost: 'replace', lostRunCount: maxLostRetries }).status, 'FAILED');
  assert.equal(lose({ onNodeLost: 'fail', maxRetryCount: 5 }).status, 'FAILED');
  assert.equal(lose({ onNodeLost: 'fail' }).statusDetail?.code, 'node_lost');
});

test('a drain tears the run down, and the job goes on elsewhere where it may, counting nothing', () => {
  const drain = (wish: Partial<JobState>) =>
    change(
      { job: { ...runningJob, ...wish }, run: runningRun },
      { kind: 'node_drained', reason: 'new disks' },
      now,
    );
  const moved = drain({ maxRetryCount: 1, lostRunCount: 3, failedRunCount: 1 });
  assert.deepEqual([moved.job.status, moved.run?.status, moved.run?.desired], ['RUNNING', 'FAILING', 'stop']);
  const ended = change(moved, { kind: 'released', proof: aProof() }, now + 5);
  assert.deepEqual([ended.job.status, ended.job.failedRunCount, ended.job.lostRunCount], ['PENDING', 1, 3]);
  assert.deepEqual(ended.job.avoidNodeIds, ['node-1']);
  assert.deepEqual(ended.run?.statusDetail, { code: 'node_drained' });
  const once = drain({});
  assert.deepEqual(
    [once.job.status, once.job.statusReason, once.run?.status],
    ['FAILED', 'new disks', 'FAILING'],
  );
});

test('a run that its cut-off agent stopped counts as a loss of the node', () => {
  const error = { code: 'cut_off', message: 'cut off' };
  const cut = (wish: Partial<JobState>) =>
    change(
      { job: { ...runningJob, ...wish }, run: runningRun },
      { kind: 'exited', end: anEnd({ exitCode: 143, error, endedAtMs: now }) },
      now,
    );
  const replaced = cut({ maxRetryCount: 1 });
  assert.deepEqual(
    [replaced.job.status, replaced.job.failedRunCount, replaced.job.lostRunCount],
    ['PENDING', 0, 1],
  );
  assert.deepEqual([replaced.run?.status, replaced.run?.statusDetail?.code], ['FAILED', 'cut_off']);
  assert.equal(cut({}).job.status, 'FAILED');
});

test('a run that is released while nothing was reported of it fails with the reason', () => {
  const gone = change({ job: runningJob, run: runningRun }, { kind: 'released', proof: aProof() }, now);
  assert.equal(gone.job.statusDetail?.code, 'container_disappeared');
  assert.deepEqual([gone.run?.status, gone.run?.endedAtMs, gone.run?.releasedAtMs], ['FAILED', now, now]);
});

test('teardown is verified by the release and unverified by the loss of the node', () => {
  const stopped = change({ job: runningJob, run: runningRun }, stop, now);
  assert.equal(change(stopped, { kind: 'released', proof: aProof() }, now).run?.teardown?.state, 'verified');
  assert.equal(change(stopped, { kind: 'node_lost', reason: 'x' }, now).run?.teardown?.state, 'unverified');
});

for (const status of jobRunStatuses) {
  test(`a timed-out run that is ${status} fails only where the timeout applies`, () => {
    const applies = (kind: 'start_timeout' | 'run_timeout') =>
      transition({ job: runningJob, run: aPlacedRun({ status }) }, { kind }, now).kind === 'changed';
    const waiting: readonly JobRunStatus[] = ['ASSIGNED', 'PREPARING'];
    assert.equal(applies('start_timeout'), waiting.includes(status));
    assert.equal(applies('run_timeout'), status === 'RUNNING');
  });
}

function change(state: LifeState, event: LifeEvent, atMs: number): { job: JobState; run: RunState | null } {
  const outcome = transition(state, event, atMs);
  if (outcome.kind === 'ignored') assert.fail(`${event.kind} was ignored: ${outcome.why}`);
  return outcome;
}
