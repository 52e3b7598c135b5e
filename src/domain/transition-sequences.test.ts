// Safety of a job's life over random orders of events, early, late and doubled.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { isTerminal, nodeLossPolicies, type TeardownState } from './job.ts';
import { anEnd, aPendingJob, aPlacedRun, aProof } from './life-builders.ts';
import { isProved, teardownSteps } from './receipt.ts';
import { maxLostRetries, mayBeReplaced } from './replacement.ts';
import { type JobState, type LifeEvent, type LifeState, type RunState, transition } from './transition.ts';

/** An event made of the present time; `attempt` numbers the run that a placement makes. */
type EventMaker = (nowMs: number, attempt: number) => LifeEvent;

const anyAge = fc.nat(5000);
const anyEvent: fc.Arbitrary<EventMaker> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.nat(2).map(
      (node): EventMaker =>
        (_, attempt) =>
          placed(node, attempt),
    ),
  },
  { weight: 1, arbitrary: fc.constant<EventMaker>(() => ({ kind: 'assign_timeout' })) },
  {
    weight: 1,
    arbitrary: fc.nat(9).map(
      (graceMs): EventMaker =>
        () =>
          stopped(graceMs),
    ),
  },
  {
    weight: 1,
    arbitrary: fc.nat(9).map(
      (progress): EventMaker =>
        () => ({ kind: 'preparing', progress }),
    ),
  },
  {
    weight: 4,
    arbitrary: anyAge.map(
      (age): EventMaker =>
        (nowMs) =>
          running(nowMs - age),
    ),
  },
  {
    weight: 3,
    arbitrary: fc.tuple(anyAge, fc.constantFrom(0, 1, 1, 137)).map(
      ([age, exitCode]): EventMaker =>
        (nowMs) =>
          exited(nowMs - age, exitCode),
    ),
  },
  {
    weight: 2,
    arbitrary: fc.constantFrom(...teardownSteps).map(
      (step): EventMaker =>
        () => ({ kind: 'teardown_step', step, afterMs: null, text: null }),
    ),
  },
  {
    weight: 3,
    arbitrary: fc.constantFrom(aProof(), aProof({ processes: { state: 'not_seen', why: 'x' } }), null).map(
      (proof): EventMaker =>
        () => ({ kind: 'released', proof }),
    ),
  },
  { weight: 1, arbitrary: fc.constant<EventMaker>(() => ({ kind: 'start_timeout' })) },
  { weight: 1, arbitrary: fc.constant<EventMaker>(() => ({ kind: 'run_timeout' })) },
  {
    weight: 1,
    arbitrary: anyAge.map(
      (age): EventMaker =>
        (nowMs) => ({ kind: 'no_public_port', startedAtMs: nowMs - age }),
    ),
  },
  { weight: 1, arbitrary: fc.constant<EventMaker>(() => ({ kind: 'node_drained', reason: 'work' })) },
  { weight: 1, arbitrary: fc.constant<EventMaker>(cutOff) },
  { weight: 2, arbitrary: fc.constant<EventMaker>(() => ({ kind: 'node_lost', reason: 'silent' })) },
);
const placed = (node: number, attempt: number): LifeEvent => ({
  kind: 'placed',
  run: aPlacedRun({ nodeId: `node-${node}`, attempt }),
});
const stopped = (graceMs: number): LifeEvent => ({
  kind: 'stop_requested',
  reason: { text: 'enough', detail: {}, graceMs },
});
const running = (startedAtMs: number): LifeEvent => ({
  kind: 'running',
  startedAtMs,
  imageDigest: null,
  containerId: null,
});
const exited = (endedAtMs: number, exitCode: number): LifeEvent => ({
  kind: 'exited',
  end: anEnd({ endedAtMs, exitCode }),
});

function cutOff(nowMs: number): LifeEvent {
  const error = { code: 'cut_off', message: 'The node was cut off.' };
  return { kind: 'exited', end: anEnd({ endedAtMs: nowMs, exitCode: null, error }) };
}

interface Step {
  before: LifeState;
  event: LifeEvent;
  after: LifeState;
  nowMs: number;
  /** Drains so far, this one included: they count neither as failures nor as losses. */
  drains: number;
}

const anyLife = fc
  .record({
    maxRetryCount: fc.nat(4),
    onNodeLost: fc.constantFrom(null, ...nodeLossPolicies),
    moves: fc.array(fc.tuple(fc.nat(400_000), anyEvent), { minLength: 1, maxLength: 60 }),
  })
  .map(({ moves, ...wish }) => live(wish, moves));

/** The steps that changed something. */
function live(wish: Partial<JobState>, moves: [number, EventMaker][]): Step[] {
  let state: LifeState = { job: aPendingJob(wish), run: null };
  let nowMs = 10_000;
  let drains = 0;
  const steps: Step[] = [];
  for (const [waitMs, make] of moves) {
    nowMs += waitMs % 3 === 0 ? waitMs : waitMs % 100;
    const event = make(nowMs, (state.run?.attempt ?? 0) + 1);
    const outcome = transition(state, event, nowMs);
    if (outcome.kind === 'ignored') continue;
    const after = { job: outcome.job, run: outcome.run };
    if (event.kind === 'node_drained') drains += 1;
    steps.push({ before: state, event, after, nowMs, drains });
    state = after;
  }
  return steps;
}

function holds(name: string, check: (step: Step) => void) {
  test(name, () => {
    let checked = 0;
    fc.assert(
      fc.property(anyLife, (steps) => {
        for (const step of steps) check(step);
        checked += steps.length;
      }),
      { numRuns: 1500 },
    );
    assert.ok(checked > 1500, 'the random lives hardly moved');
  });
}

const isSameRun = ({ before, after }: Step) =>
  before.run !== null && after.run !== null && before.run.attempt === after.run.attempt;

holds('a terminal job never changes anything of itself', ({ before, after }) => {
  if (isTerminal(before.job.status)) assert.deepEqual(after.job, before.job);
});

holds('a terminal run changes only by its release, or makes way for the next attempt', (step) => {
  const { before, after, event } = step;
  if (before.run === null || !isTerminal(before.run.status)) return;
  if (!isSameRun(step)) {
    assert.equal(event.kind, 'placed');
    return;
  }
  const withoutRelease = (run: RunState | null) => ({
    ...run,
    ...{ releasedAtMs: null, teardown: null, receipt: null },
  });
  assert.deepEqual(withoutRelease(after.run), withoutRelease(before.run));
});

holds('resources are released once, by proof or by fencing, and a released run is terminal', (step) => {
  const { before, after, event } = step;
  if (after.run?.releasedAtMs != null) assert.ok(isTerminal(after.run.status));
  if (!isSameRun(step) || before.run?.releasedAtMs === after.run?.releasedAtMs) return;
  assert.equal(before.run?.releasedAtMs, null);
  assert.ok(event.kind === 'released' || event.kind === 'node_lost');
});

holds('a job is PENDING only without a run or after the end of its last one', ({ after }) => {
  if (after.job.status !== 'PENDING') return;
  if (after.run === null) return;
  assert.equal(after.run.status, 'FAILED');
  assert.notEqual(after.run.endedAtMs, null);
});

holds('a torn-down run returns its job to PENDING only with its release', (step) => {
  const { before, after } = step;
  if (before.run?.status !== 'FAILING' || after.job.status !== 'PENDING') return;
  assert.notEqual(after.run?.releasedAtMs, null);
});

holds('retries keep to their bounds', ({ before, after }) => {
  assert.ok(after.job.failedRunCount <= after.job.maxRetryCount + 1);
  assert.ok(after.job.lostRunCount <= maxLostRetries + 1);
  const isRetry = before.job.status !== 'PENDING' && after.job.status === 'PENDING';
  if (isRetry) assert.ok(after.job.failedRunCount <= after.job.maxRetryCount);
  if (isRetry) assert.ok(after.job.lostRunCount <= maxLostRetries);
  if (isRetry) assert.ok(after.job.maxRetryCount > 0 || mayBeReplaced(after.job));
});

holds('at most max_retry_count + 1 failures and 3 losses are followed by another attempt', (step) => {
  const { run, job } = step.after;
  if (run !== null) assert.ok(run.attempt <= job.maxRetryCount + 1 + maxLostRetries + step.drains);
});

holds(
  'what the node is to blame for uses no retry, and never repeats a job that may run only once',
  (step) => {
    const { before, after, event } = step;
    const isNodesFault = event.kind === 'node_lost' || event.kind === 'node_drained' || isCutOff(event);
    if (!isNodesFault) return;
    assert.equal(after.job.failedRunCount, before.job.failedRunCount);
    const isLive = before.run !== null && ['ASSIGNED', 'PREPARING', 'RUNNING'].includes(before.run.status);
    if (isLive && !mayBeReplaced(before.job)) assert.equal(after.job.status, 'FAILED');
  },
);

function isCutOff(event: LifeEvent): boolean {
  return event.kind === 'exited' && event.end.error?.code === 'cut_off';
}

holds('a stopped job is never placed, prepared or started', ({ before, after }) => {
  if (before.job.status !== 'CANCELLED') return;
  const live = ['ASSIGNED', 'PREPARING', 'RUNNING'];
  assert.ok(!live.includes(after.run?.status ?? 'none'));
  assert.equal(after.run?.attempt, before.run?.attempt);
});

holds('a job that is ASSIGNED or RUNNING has a run that lives or is failing', ({ after }) => {
  if (after.job.status === 'ASSIGNED')
    assert.ok(['ASSIGNED', 'PREPARING', 'FAILING'].includes(after.run?.status ?? 'none'));
  if (after.job.status === 'RUNNING') assert.ok(['RUNNING', 'FAILING'].includes(after.run?.status ?? 'none'));
});

holds('a run that lives belongs to a live job, and is wanted', ({ after }) => {
  if (!['ASSIGNED', 'PREPARING', 'RUNNING'].includes(after.run?.status ?? 'none')) return;
  assert.ok(!isTerminal(after.job.status));
  assert.equal(after.run?.desired, 'run');
});

holds('a run that is torn down is not wanted and has a teardown record', ({ after }) => {
  if (after.run?.status !== 'CANCELLING' && after.run?.status !== 'FAILING') return;
  assert.equal(after.run.desired, 'stop');
  assert.notEqual(after.run.teardown, null);
});

holds('times are in order', ({ after: { job, run }, nowMs }) => {
  const inOrder = (times: readonly (number | null | undefined)[]) => {
    const known = times.filter((time) => time != null);
    assert.deepEqual(
      known,
      known.toSorted((a, b) => a - b),
      JSON.stringify({ job, run }),
    );
  };
  inOrder([run?.startedAtMs, run?.endedAtMs, run?.releasedAtMs, nowMs]);
  inOrder([job.startedAtMs, job.completedAtMs, nowMs]);
  inOrder([run?.teardown?.requestedAtMs, run?.teardown?.deadlineAtMs]);
});

holds('a deadline to be assigned stands exactly while the job is PENDING', ({ after: { job } }) => {
  assert.equal(job.timeoutAssignAtMs !== null, job.status === 'PENDING');
});

holds(
  'an end is known of every terminal job and run, and only of a terminal job',
  ({ after: { job, run } }) => {
    assert.equal(job.completedAtMs !== null, isTerminal(job.status));
    if (run !== null && isTerminal(run.status)) assert.notEqual(run.endedAtMs, null);
  },
);

holds('a failed job says why, in words and as a code', ({ after: { job } }) => {
  if (job.status !== 'FAILED') return;
  assert.ok(job.statusReason);
  assert.equal(typeof job.statusDetail?.code, 'string');
});

const teardownRank: Record<TeardownState, number> = {
  ...{ requested: 0, signalled: 1, killed: 2, verified: 3, unverified: 3 },
};

holds('a teardown only goes on, and its end is final but for the proof of a node that came back', (step) => {
  const before = step.before.run?.teardown;
  const after = step.after.run?.teardown;
  if (!isSameRun(step) || !before) return;
  assert.ok(after, 'a teardown record disappeared');
  assert.ok(teardownRank[after.state] >= teardownRank[before.state]);
  const isLateProof = before.state === 'unverified' && step.event.kind === 'released';
  if (teardownRank[before.state] === 3 && !isLateProof) assert.equal(after.state, before.state);
  assert.deepEqual([after.requestedAtMs, after.deadlineAtMs], [before.requestedAtMs, before.deadlineAtMs]);
});

holds(
  'a teardown is verified by a whole proof alone, and every released run has a proof or the loss of its node',
  (step) => {
    const { after, event } = step;
    if (after.run === null) return;
    const { receipt, teardown, releasedAtMs } = after.run;
    if (teardown !== null) assert.equal(teardown.state === 'verified', isProved(receipt.proof));
    if (receipt.proof !== null || receipt.fenced !== null) assert.notEqual(releasedAtMs, null);
    if (!isSameRun(step) || step.before.run?.receipt.proof === receipt.proof) return;
    assert.equal(step.before.run?.receipt.proof, null);
    assert.ok(event.kind === 'released' && event.proof === receipt.proof);
  },
);

holds('the first end that was seen stands', (step) => {
  if (!isSameRun(step) || step.before.run?.endedAtMs == null) return;
  assert.equal(step.after.run?.endedAtMs, step.before.run.endedAtMs);
  assert.equal(step.after.run?.exitCode, step.before.run.exitCode);
});
