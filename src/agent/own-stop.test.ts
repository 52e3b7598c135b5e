// What a node stops by itself: which runs, with what reason, and when a cut-off counts.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Clock } from './clock.ts';
import { cutOff, stopByItself, watchCutOff } from './own-stop.ts';
import { newRecord, observeState, type RunRecord } from './run-record.ts';
import type { ContainerState } from './runtime.ts';

/** Time that the test moves; what is due runs then. */
class HandClock implements Clock {
  #nowMs = 0;
  #timers: { atMs: number; task: () => void }[] = [];

  nowMs(): number {
    return this.#nowMs;
  }
  wallMs(): number {
    return this.#nowMs;
  }
  after(delayMs: number, task: () => void): () => void {
    const timer = { atMs: this.#nowMs + delayMs, task };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((it) => it !== timer);
    };
  }
  async pass(spanMs: number): Promise<void> {
    const endMs = this.#nowMs + spanMs;
    for (;;) {
      const next = this.#timers.toSorted((a, b) => a.atMs - b.atMs)[0];
      if (next === undefined || next.atMs > endMs) break;
      this.#timers = this.#timers.filter((it) => it !== next);
      this.#nowMs = next.atMs;
      next.task();
      await new Promise((resolve) => setImmediate(resolve));
    }
    this.#nowMs = endMs;
  }
}

function aRecord(changes: Partial<RunRecord> = {}): RunRecord {
  return { ...newRecord('run-1', 1), ...changes };
}

const order = { container: { stop_grace_ms: 30_000 } } as RunRecord['desired'];

test('a cut-off stops what runs with its own grace, else with the default one', () => {
  const known = aRecord({ container: 'running', desired: order });
  assert.equal(cutOff(known, 500), true);
  assert.deepEqual([known.ownStop?.sinceMs, known.ownStop?.graceMs], [500, 30_000]);
  assert.equal(known.ownStop?.error.code, 'cut_off');
  const unknown = aRecord({ container: 'running' });
  assert.equal(cutOff(unknown, 500), true);
  assert.equal(unknown.ownStop?.graceMs, 10_000);
  assert.equal(cutOff(known, 900), false, 'once');
  assert.equal(known.ownStop?.sinceMs, 500);
});

test('what has not started fails with it, and its pull ends', () => {
  const pullAbort = new AbortController();
  const pulling = aRecord({ desired: order, work: 'pull', pullAbort });
  assert.equal(cutOff(pulling, 500), true);
  assert.deepEqual(
    [pulling.error?.code, pullAbort.signal.aborted, pulling.endedAtMs],
    ['cut_off', true, 500],
  );
  const created = aRecord({ desired: order, container: 'created' });
  assert.equal(cutOff(created, 500), true);
  assert.equal(created.error?.code, 'cut_off');
});

test('what has ended, and what nobody wants, is left alone', () => {
  for (const changes of [
    { container: 'exited', desired: order },
    { container: 'exited', desired: order, hasExit: true },
    { desired: order, error: { code: 'x', message: 'x' } },
    { container: 'created' },
  ] as const) {
    assert.equal(cutOff(aRecord(changes), 500), false, JSON.stringify(changes));
  }
});

function ended(endedAtMs: number): ContainerState {
  return {
    ...{ containerId: 'c', imageId: 'i', state: 'exited', startedAtMs: 0, endedAtMs, exitCode: 0 },
    ...{ isOomKilled: false, stopSignal: 'SIGTERM' },
  };
}

test('an end before the node decided is the program’s own; one after it is the node’s', () => {
  const clock = new HandClock();
  const reasonOf = (endedAtMs: number) => {
    const record = aRecord({ container: 'running', hasStart: true });
    stopByItself(record, { error: { code: 'cut_off', message: 'x' }, graceMs: 0, nowMs: 1_000 });
    observeState(record, { state: ended(endedAtMs), lastLogLines: '', clock, explain: () => null });
    return record.error?.code ?? null;
  };
  void clock.pass(5_000);
  assert.deepEqual([reasonOf(900), reasonOf(1_000), reasonOf(3_000)], [null, 'cut_off', 'cut_off']);
});

test('a cut-off counts from when the server was heard last, and is told again and again until it is heard', async () => {
  const clock = new HandClock();
  const abort = new AbortController();
  let heardAtMs = 0;
  const told: number[] = [];
  const watching = watchCutOff(
    { clock, limitMs: 60_000, heardAtMs: () => heardAtMs, onCutOff: () => told.push(clock.nowMs()) },
    abort.signal,
  );
  for (let second = 0; second < 100; second += 1) {
    heardAtMs = clock.nowMs();
    await clock.pass(1_000);
  }
  assert.deepEqual(told, [], 'while it is heard');
  await clock.pass(58_000);
  assert.deepEqual(told, []);
  await clock.pass(3_500);
  assert.deepEqual(told, [159_000, 160_000, 161_000]);
  heardAtMs = clock.nowMs();
  told.length = 0;
  await clock.pass(59_000);
  assert.deepEqual(told, []);
  abort.abort();
  await watching;
});
