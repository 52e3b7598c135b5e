// The agent's rules: what is asked for in each situation, and what never happens in any.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  forceRetryMs,
  isEnded,
  lateGraceMs,
  logBoundMs,
  maxStartsAtOnce,
  nextSteps,
  orphanKeptMs,
  overuseGraceMs,
  type RunCurrent,
  type RunTarget,
  type Step,
  type Work,
} from './next-steps.ts';
import { newRecord } from './run-record.ts';

const run: RunTarget = { kind: 'run', attempt: 1, mayStart: true };
const running: RunTarget = { kind: 'run', attempt: 1, mayStart: false };
const stop: Extract<RunTarget, { kind: 'stop' }> = {
  kind: 'stop',
  attempt: 1,
  graceMs: 10_000,
  requestedAtMs: 0,
};
const kill: RunTarget = { kind: 'kill', attempt: 1 };

function aRun(changes: Partial<RunCurrent> = {}): RunCurrent {
  return { ...newRecord('run-1', 1), ...changes };
}

function aLivingRun(changes: Partial<RunCurrent> = {}): RunCurrent {
  const { reports } = newRecord('run-1', 1);
  return aRun({
    container: 'running',
    hasStart: true,
    isImageReady: true,
    reports: { ...reports, running: 'acked' },
    log: { state: 'shipping', isAcked: true },
    ...changes,
  });
}

function anEndedRun(changes: Partial<RunCurrent> = {}): RunCurrent {
  const { reports } = newRecord('run-1', 1);
  return aLivingRun({
    container: 'exited',
    hasExit: true,
    endedAtMs: 0,
    reports: { ...reports, running: 'acked', exited: 'acked' },
    log: { state: 'drained', isAcked: true },
    ...changes,
  });
}

interface Situation {
  target?: RunTarget | undefined;
  nowMs?: number;
  connectedSinceMs?: number | null;
}

function stepsFor(current: RunCurrent, { target, nowMs = 0, connectedSinceMs = 0 }: Situation): Step[] {
  const targets = new Map(target === undefined ? [] : [[current.runUuid, target]]);
  return nextSteps({ runs: [current], connectedSinceMs }, targets, nowMs).steps;
}

function expectSteps(current: RunCurrent, situation: Situation, expected: string[]): void {
  const told = stepsFor(current, situation).map((step) => {
    if (step.kind === 'report') return `report ${step.report}`;
    return step.kind === 'give_up' ? `give_up ${step.code}` : step.kind;
  });
  assert.deepEqual(told, expected);
}

test('a new run is pulled, then started, then its log is shipped', () => {
  expectSteps(aRun(), { target: run }, ['pull']);
  expectSteps(aRun({ isImageReady: true }), { target: run }, ['create_and_start']);
  expectSteps(aRun({ isImageReady: true, container: 'created' }), { target: run }, ['create_and_start']);
  expectSteps(aRun({ container: 'running', hasStart: true }), { target: running }, [
    'report running',
    'ship_logs',
  ]);
});

test('an unknown outcome of a start is looked at before another', () => {
  expectSteps(aRun({ isImageReady: true, container: 'created', needsInspect: true }), { target: run }, [
    'inspect',
  ]);
  expectSteps(aRun({ isImageReady: true, container: 'created', isInspecting: true }), { target: run }, []);
});

test('a run that the server knows as running and that is not there has disappeared', () => {
  expectSteps(aRun(), { target: running }, ['give_up container_disappeared']);
  expectSteps(aLivingRun({ container: 'absent' }), { target: running }, [
    'drain_logs',
    'give_up container_disappeared',
  ]);
});

test('no more than four containers start at once', () => {
  const runs = Array.from({ length: 9 }, (_, n) => aRun({ runUuid: `run-${n}`, isImageReady: true }));
  if (runs[0] !== undefined) runs[0].work = 'create_and_start';
  const targets = new Map(runs.map(({ runUuid }) => [runUuid, run]));
  const { steps } = nextSteps({ runs, connectedSinceMs: 0 }, targets, 0);
  assert.equal(steps.length, maxStartsAtOnce - 1);
});

test('the stop ladder: signal, grace, KILL three times, then removal and the cgroup by turns', () => {
  expectSteps(aLivingRun(), { target: stop }, ['signal']);
  const signalled = aLivingRun({
    signalledAtMs: 0,
    reports: { ...newRecord('', 1).reports, running: 'acked', signalled: 'acked' },
  });
  expectSteps(signalled, { target: stop, nowMs: 9_999 }, []);
  expectSteps(signalled, { target: stop, nowMs: 10_000 }, ['kill']);
  const killed: RunCurrent = { ...signalled, reports: { ...signalled.reports, killed: 'acked' } };
  const rungs = [1, 2, 3, 4, 5].map((count) => {
    const current = { ...killed, force: { count, lastAtMs: 0 } };
    assert.deepEqual(stepsFor(current, { target: stop, nowMs: forceRetryMs - 1 }), []);
    return stepsFor(current, { target: stop, nowMs: forceRetryMs })[0]?.kind;
  });
  assert.deepEqual(rungs, ['kill', 'kill', 'remove', 'kill_processes', 'remove']);
});

test('without grace the first rung is KILL; a late stop still gives a short grace', () => {
  expectSteps(aLivingRun(), { target: { ...stop, graceMs: 0 } }, ['kill']);
  const late = aLivingRun({
    signalledAtMs: 60_000,
    reports: { ...newRecord('', 1).reports, running: 'acked', signalled: 'acked' },
  });
  expectSteps(late, { target: stop, nowMs: 60_000 + lateGraceMs - 1 }, []);
  expectSteps(late, { target: stop, nowMs: 60_000 + lateGraceMs }, ['kill']);
});

test('a stop before the start ends the run at once; a pull is aborted first', () => {
  expectSteps(aRun({ work: 'pull' }), { target: stop }, ['abort_pull']);
  expectSteps(aRun({ work: 'pull', isPullAborted: true }), { target: stop }, []);
  expectSteps(aRun(), { target: stop }, ['give_up cancelled']);
  const given = aRun({ error: { code: 'cancelled', message: '' }, endedAtMs: 0 });
  expectSteps(given, { target: stop }, ['report exited', 'report released']);
});

test('a container is removed when exit and log are stored, or when the bound is reached', () => {
  const unstored = anEndedRun({ log: { state: 'drained', isAcked: false } });
  expectSteps(anEndedRun(), { target: running }, ['remove']);
  expectSteps(unstored, { target: running, nowMs: logBoundMs - 1 }, []);
  expectSteps(unstored, { target: running, nowMs: logBoundMs }, ['remove']);
  expectSteps(unstored, { target: running, nowMs: 10 * logBoundMs, connectedSinceMs: null }, []);
  expectSteps(unstored, { target: running, nowMs: logBoundMs + 9, connectedSinceMs: 10 }, []);
});

test('a container that never started goes at once, then the run is released', () => {
  const failed = aRun({ container: 'created', error: { code: 'bad_command', message: '' }, endedAtMs: 0 });
  expectSteps(failed, { target: run }, ['report exited', 'remove']);
  expectSteps({ ...failed, container: 'absent' }, { target: run }, ['report exited', 'report released']);
});

test('the kill list removes without a word, and tries again while that fails', () => {
  expectSteps(aLivingRun({ reports: newRecord('', 1).reports }), { target: kill }, ['remove']);
  expectSteps(aLivingRun({ removal: { count: 1, lastAtMs: 0 } }), { target: kill }, []);
  const tries = [1, 2, 3].map(
    (count) =>
      stepsFor(aLivingRun({ removal: { count, lastAtMs: 0 } }), { target: kill, nowMs: forceRetryMs })[0]
        ?.kind,
  );
  assert.deepEqual(tries, ['remove', 'kill_processes', 'remove']);
});

test('an orphan is kept for a while, then removed', () => {
  const orphan = aLivingRun({ orphanSinceMs: 1 });
  expectSteps(orphan, { nowMs: orphanKeptMs }, []);
  expectSteps(orphan, { nowMs: orphanKeptMs + 1 }, ['remove']);
  expectSteps(aLivingRun(), { nowMs: 10 * orphanKeptMs }, []);
});

test('an older attempt changes nothing; a newer one waits until the older container is gone', () => {
  const second = aLivingRun({ attempt: 2 });
  expectSteps(second, { target: stop }, []);
  expectSteps(second, { target: kill }, []);
  expectSteps(aLivingRun(), { target: { ...run, attempt: 2 } }, ['remove']);
  expectSteps(aRun(), { target: { ...run, attempt: 2 } }, ['renew']);
});

// Any sequence of messages, engine answers and time, applied to a small model of engine and server.

const works: readonly string[] = ['pull', 'create_and_start', 'signal', 'kill', 'remove', 'kill_processes'];
type Move =
  | { kind: 'want'; target: 'run' | 'stop' | 'kill' }
  | { kind: 'finish'; hasFailed: boolean }
  | {
      kind:
        | 'exit'
        | 'acknowledge_reports'
        | 'acknowledge_log'
        | 'connect'
        | 'disconnect'
        | 'inspect'
        | 'drain';
    }
  | { kind: 'wait'; ms: number };

const move: fc.Arbitrary<Move> = fc.oneof(
  {
    weight: 1,
    arbitrary: fc.constantFrom<Move>({ kind: 'want', target: 'stop' }, { kind: 'want', target: 'kill' }),
  },
  { weight: 6, arbitrary: fc.constant<Move>({ kind: 'want', target: 'run' }) },
  { weight: 10, arbitrary: fc.boolean().map((hasFailed): Move => ({ kind: 'finish', hasFailed })) },
  {
    weight: 15,
    arbitrary: fc.constantFrom<Move>(
      { kind: 'exit' },
      { kind: 'acknowledge_reports' },
      { kind: 'acknowledge_log' },
      { kind: 'connect' },
      { kind: 'disconnect' },
      { kind: 'inspect' },
      { kind: 'drain' },
    ),
  },
  {
    weight: 5,
    arbitrary: fc.constantFrom(10, 2_000, 10_000, logBoundMs).map((ms): Move => ({ kind: 'wait', ms })),
  },
);

class Model {
  readonly current = aRun();
  readonly taken: string[] = [];
  target: RunTarget | undefined;
  nowMs = 0;
  connectedSinceMs: number | null = 0;
  startCount = 0;
  wasStopWanted = false;
  isForgotten = false;

  play(next: Move): void {
    this.#apply(next);
    // Each pass must settle: what it asked for is visible, so the same is not asked for again.
    for (let pass = 0; !this.isForgotten; pass += 1) {
      assert.ok(pass < 12, 'the rules do not settle');
      const steps = stepsFor(this.current, this);
      if (steps.length === 0) return;
      assert.equal(steps.filter((step) => works.includes(step.kind)).length <= 1, true);
      for (const step of steps) this.#take(step);
    }
  }

  #apply(next: Move): void {
    const { current } = this;
    if (next.kind === 'wait') this.nowMs += next.ms;
    else if (next.kind === 'connect') this.connectedSinceMs ??= this.nowMs;
    else if (next.kind === 'disconnect') this.connectedSinceMs = null;
    else if (next.kind === 'want') this.#want(next.target);
    else if (next.kind === 'finish') this.#finish(next.hasFailed);
    else if (next.kind === 'exit' && current.container === 'running') this.#exit();
    else if (next.kind === 'inspect' && current.isInspecting) current.isInspecting = false;
    else if (next.kind === 'drain' && current.log.state === 'draining') current.log.state = 'drained';
    else if (next.kind === 'acknowledge_log' && current.log.state !== 'idle') current.log.isAcked = true;
    else if (next.kind === 'acknowledge_reports') {
      for (const [kind, state] of Object.entries(current.reports)) {
        if (state === 'queued') current.reports[kind as keyof RunCurrent['reports']] = 'acked';
      }
    }
  }

  /** As the loop does it: a stop or kill stays. */
  #want(kind: 'run' | 'stop' | 'kill'): void {
    if (kind === 'run') this.target ??= run;
    else if (kind === 'kill') this.target = kill;
    else if (this.target?.kind !== 'kill') this.target = { ...stop, requestedAtMs: this.nowMs };
    this.wasStopWanted ||= kind !== 'run';
  }

  #exit(): void {
    Object.assign(this.current, { container: 'exited', hasExit: true, endedAtMs: this.nowMs });
  }

  #finish(hasFailed: boolean): void {
    const { current } = this;
    const { work } = current;
    current.work = null;
    if (work === null || hasFailed) return;
    if (work === 'pull') current.isImageReady = !current.isPullAborted;
    if (work === 'create_and_start' && !this.wasStopWanted) {
      this.startCount += 1;
      Object.assign(current, { container: 'running', hasStart: true });
    }
    if (work === 'kill' && current.container === 'running') this.#exit();
    if (work === 'remove') Object.assign(current, { container: 'absent' });
  }

  #take(step: Step): void {
    const { current } = this;
    this.taken.push(step.kind === 'report' ? `report ${step.report}` : step.kind);
    this.#check(step);
    if (step.kind === 'report') current.reports[step.report] = 'queued';
    else if (step.kind === 'give_up')
      Object.assign(current, { error: { code: step.code, message: '' }, endedAtMs: this.nowMs });
    else if (step.kind === 'abort_pull') current.isPullAborted = true;
    else if (step.kind === 'ship_logs') current.log = { state: 'shipping', isAcked: false };
    else if (step.kind === 'drain_logs') current.log.state = 'draining';
    else if (step.kind === 'inspect') Object.assign(current, { needsInspect: false, isInspecting: true });
    else if (step.kind === 'forget') this.isForgotten = true;
    else current.work = step.kind as Work;
    const tries = { lastAtMs: this.nowMs };
    if (step.kind === 'signal') current.signalledAtMs = this.nowMs;
    if (step.kind === 'kill') current.force = { count: current.force.count + 1, ...tries };
    if (step.kind === 'remove' || step.kind === 'kill_processes') {
      if (current.container === 'running') current.force = { count: current.force.count + 1, ...tries };
      current.removal = { count: current.removal.count + 1, ...tries };
    }
  }

  #check(step: Step): void {
    const { current } = this;
    if (step.kind === 'pull' || step.kind === 'create_and_start') {
      assert.equal(this.wasStopWanted, false, 'nothing starts after a stop');
      assert.equal(current.hasStart, false, 'nothing starts twice');
    }
    if (step.kind === 'signal') assert.equal(current.force.count, 0, 'the ladder only goes on');
    if (works.includes(step.kind)) assert.equal(current.work, null, 'one piece of work at a time');
    if (this.target?.kind === 'kill')
      assert.notEqual(step.kind, 'report', 'the kill list asks for no report');
    if (step.kind === 'report' && step.report === 'released') assert.equal(current.container, 'absent');
    const isEarly =
      step.kind === 'remove' && this.target?.kind !== 'kill' && current.hasStart && isEnded(current);
    if (
      isEarly &&
      !(current.reports.exited === 'acked' && current.log.state === 'drained' && current.log.isAcked)
    ) {
      const waitedMs =
        this.nowMs - Math.max(current.endedAtMs ?? 0, this.connectedSinceMs ?? Number.POSITIVE_INFINITY);
      assert.ok(
        waitedMs >= logBoundMs,
        'nothing is removed before its log is stored or the bound is reached',
      );
    }
  }
}

test('whatever comes, no start after a stop, no early removal, no report from the kill list', () => {
  let startCount = 0;
  let removalCount = 0;
  fc.assert(
    fc.property(fc.array(move, { maxLength: 60, size: 'max' }), (moves) => {
      const model = new Model();
      for (const next of moves) model.play(next);
      startCount += model.startCount;
      removalCount += model.taken.filter((kind) => kind === 'remove').length;
    }),
    { numRuns: 4_000 },
  );
  assert.ok(
    startCount > 100 && removalCount > 100,
    `the moves reach far: ${startCount} starts, ${removalCount} removals`,
  );
});

test('a run that is stopped comes to its end when engine and server answer', () => {
  const answers: Move[] = [
    { kind: 'connect' },
    { kind: 'finish', hasFailed: false },
    { kind: 'inspect' },
    { kind: 'wait', ms: 10_000 },
    { kind: 'drain' },
    { kind: 'acknowledge_log' },
    { kind: 'acknowledge_reports' },
  ];
  fc.assert(
    fc.property(fc.array(move, { maxLength: 40 }), (moves) => {
      const model = new Model();
      for (const next of [
        { kind: 'want', target: 'run' } as const,
        ...moves,
        { kind: 'want', target: 'stop' } as const,
      ]) {
        model.play(next);
      }
      for (let round = 0; round < 12; round += 1) for (const answer of answers) model.play(answer);
      assert.equal(model.current.container, 'absent');
      assert.equal(model.isForgotten, true);
      if (model.target?.kind !== 'kill') assert.equal(model.current.reports.released, 'acked');
    }),
    { numRuns: 1_000 },
  );
});

test('a run that takes more than it may is stopped by the ladder, and no other step of a stop is told', () => {
  const overused = aLivingRun({ overuseSinceMs: 1_000 });
  expectSteps(aLivingRun(), { target: running, nowMs: 1_000 }, []);
  expectSteps(overused, { target: running, nowMs: 1_000 }, ['signal']);
  const signalled = { ...overused, signalledAtMs: 1_000 };
  expectSteps(signalled, { target: running, nowMs: 1_000 + overuseGraceMs - 1 }, []);
  expectSteps(signalled, { target: running, nowMs: 1_000 + overuseGraceMs }, ['kill']);
});
