// The agent's rules under any sequence of messages, engine answers and time, on a small model of engine and server.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  isEnded,
  logBoundMs,
  nextSteps,
  type ReportKind,
  type RunCurrent,
  type RunTarget,
  type Step,
  stuckAfterMs,
  type Work,
} from './next-steps.ts';
import { newRecord } from './run-record.ts';

const run: RunTarget = { kind: 'run', attempt: 1, mayStart: true };
const stop = { kind: 'stop', attempt: 1, graceMs: 10_000, requestedAtMs: 0 } as const;
const kill: RunTarget = { kind: 'kill', attempt: 1 };

const works: readonly string[] = [
  ...['pull', 'create_and_start', 'signal', 'kill', 'remove', 'kill_processes', 'clean_up'],
];
type Move =
  | { kind: 'want'; target: 'run' | 'stop' | 'kill' }
  | { kind: 'finish'; hasFailed: boolean }
  | {
      kind:
        | 'exit'
        | 'vanish'
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
      { kind: 'vanish' },
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
  readonly current: RunCurrent = newRecord('run-1', 1);
  readonly taken: string[] = [];
  target: RunTarget | undefined;
  nowMs = 0;
  connectedSinceMs: number | null = 0;
  startCount = 0;
  vanishCount = 0;
  wasStopWanted = false;
  isForgotten = false;
  stuckCount = 0;

  play(next: Move): void {
    this.#apply(next);
    // Each pass must settle: what it asked for is visible, so the same is not asked for again.
    for (let pass = 0; !this.isForgotten; pass += 1) {
      assert.ok(pass < 12, 'the rules do not settle');
      const steps = this.#ask();
      if (steps.length === 0) return;
      assert.equal(steps.filter((step) => works.includes(step.kind)).length <= 1, true);
      for (const step of steps) this.#take(step);
    }
  }

  #ask(): Step[] {
    const { current, target, nowMs, connectedSinceMs } = this;
    const targets = new Map(target === undefined ? [] : [[current.runUuid, target]]);
    return nextSteps({ runs: [current], connectedSinceMs }, targets, nowMs).steps;
  }

  #apply(next: Move): void {
    const { current } = this;
    if (next.kind === 'wait') this.nowMs += next.ms;
    else if (next.kind === 'connect') this.connectedSinceMs ??= this.nowMs;
    else if (next.kind === 'disconnect') this.connectedSinceMs = null;
    else if (next.kind === 'want') this.#want(next.target);
    else if (next.kind === 'finish') this.#finish(next.hasFailed);
    else if (next.kind === 'exit' && current.container === 'running') this.#exit();
    else if (next.kind === 'vanish') this.#vanish();
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

  /** It was started and removed by somebody else before it was seen: the agent knows that it asked for a start. */
  #vanish(): void {
    const { current } = this;
    if (current.work !== 'create_and_start' || this.wasStopWanted) return;
    this.startCount += 1;
    this.vanishCount += 1;
    Object.assign(current, { work: null, isStartAsked: true, container: 'absent', needsInspect: false });
  }

  #finish(hasFailed: boolean): void {
    const { current } = this;
    const { work } = current;
    current.work = null;
    if (hasFailed && work !== null && work !== 'pull') current.trouble = 'The engine does not answer.';
    if (work === null || hasFailed) return;
    current.trouble = null;
    if (work === 'signal') current.isSignalled = true;
    if (work === 'kill') current.isKilled = true;
    if (work === 'clean_up') current.cleanUp = 'done';
    if (work === 'pull') current.isImageReady = !current.isPullAborted;
    if (work === 'create_and_start' && !this.wasStopWanted) {
      this.startCount += 1;
      Object.assign(current, { container: 'running', isStartAsked: true, hasStart: true });
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
    if (step.kind === 'clean_up') current.cleaning = { count: current.cleaning.count + 1, ...tries };
    if (['kill', 'remove', 'kill_processes', 'clean_up'].includes(step.kind))
      current.endingSinceMs ??= this.nowMs;
  }

  #checkReport(report: ReportKind): void {
    const { current } = this;
    if (this.target?.kind === 'kill')
      assert.ok(report === 'released' || report === 'stuck', 'the kill list asks for the end alone');
    if (report === 'released') {
      assert.deepEqual([current.container, current.cleanUp], ['absent', 'done'], 'nothing of it is left');
    }
    if (report === 'signalled') assert.ok(current.isSignalled);
    if (report === 'killed') assert.ok(current.isKilled);
    if (report !== 'stuck') return;
    this.stuckCount += 1;
    assert.ok(this.nowMs - (current.endingSinceMs ?? this.nowMs) >= stuckAfterMs);
    assert.notEqual(current.trouble, null);
  }

  #check(step: Step): void {
    const { current } = this;
    if (step.kind === 'pull' || step.kind === 'create_and_start') {
      assert.equal(this.wasStopWanted, false, 'nothing starts after a stop');
      assert.equal(this.startCount, 0, 'nothing starts twice');
    }
    if (step.kind === 'signal') assert.equal(current.force.count, 0, 'the ladder only goes on');
    if (works.includes(step.kind)) assert.equal(current.work, null, 'one piece of work at a time');
    if (step.kind === 'report') this.#checkReport(step.report);
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

test('whatever comes, no start after a stop, no early removal, no release before a clean look', () => {
  let startCount = 0;
  let removalCount = 0;
  let stuckCount = 0;
  let vanishCount = 0;
  fc.assert(
    fc.property(fc.array(move, { maxLength: 60, size: 'max' }), (moves) => {
      const model = new Model();
      for (const next of moves) model.play(next);
      startCount += model.startCount;
      stuckCount += model.stuckCount;
      vanishCount += model.vanishCount;
      removalCount += model.taken.filter((kind) => kind === 'remove').length;
    }),
    { numRuns: 4_000 },
  );
  assert.ok(vanishCount > 100, `${vanishCount} vanished`);
  assert.ok(
    startCount > 100 && removalCount > 100 && stuckCount > 10,
    `the moves reach far: ${startCount} starts, ${removalCount} removals, ${stuckCount} stuck`,
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
      assert.equal(model.current.reports.released, 'acked');
    }),
    { numRuns: 1_000 },
  );
});
