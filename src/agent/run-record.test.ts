// When a run started and ended, by the engine's times and clocks that jump.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Clock } from './clock.ts';
import { newRecord, observeState, type RunRecord } from './run-record.ts';
import type { ContainerState } from './runtime.ts';

const hourMs = 3_600_000;
const engineMs = 1_700_000_000_000;

/** Monotonic milliseconds since the engine's time `engineMs`, and a wall clock that is off by so much. */
function clockAt(nowMs: number, aheadMs = 0): Clock {
  return { nowMs: () => nowMs, wallMs: () => engineMs + nowMs + aheadMs, after: () => () => undefined };
}

function aRecord(startAskedAtMs: number | null): RunRecord {
  return Object.assign(newRecord('run', 1), { isStartAsked: startAskedAtMs !== null, startAskedAtMs });
}

function see(record: RunRecord, state: Partial<ContainerState>, clock: Clock): void {
  const seen: ContainerState = {
    ...{
      containerId: 'c',
      imageId: 'i',
      state: 'running',
      startedAtMs: null,
      endedAtMs: null,
      exitCode: null,
    },
    ...{ isOomKilled: false, stopSignal: 'SIGTERM' },
    ...state,
  };
  observeState(record, { state: seen, lastLogLines: '', clock, explain: () => null });
}

test('a start is when the engine says, told in monotonic time', () => {
  const record = aRecord(1_000);
  see(record, { startedAtMs: engineMs + 1_200 }, clockAt(1_500));
  assert.equal(record.startedAtMs, 1_200);
});

test('a clock that jumped ahead puts no start before it was asked for', () => {
  const record = aRecord(1_000);
  see(record, { startedAtMs: engineMs + 1_200 }, clockAt(1_500, 5 * hourMs));
  assert.equal(record.startedAtMs, 1_000);
});

test('a clock that jumped back puts no start into the future', () => {
  const record = aRecord(1_000);
  see(record, { startedAtMs: engineMs + 1_200 }, clockAt(1_500, -5 * hourMs));
  assert.equal(record.startedAtMs, 1_500);
});

test('a start of an earlier life of the agent is the engine’s word alone', () => {
  const record = aRecord(null);
  see(record, { startedAtMs: engineMs - hourMs }, clockAt(1_500));
  assert.equal(record.startedAtMs, -hourMs);
});

test('an end that a jump puts before its start is as long after it as the engine says it ran', () => {
  const record = aRecord(1_000);
  const startedAtMs = engineMs + 1_200;
  see(record, { startedAtMs }, clockAt(1_500));
  see(
    record,
    { state: 'exited', exitCode: 0, startedAtMs, endedAtMs: engineMs + 9_200 },
    clockAt(9_300, hourMs),
  );
  assert.equal(record.endedAtMs, 9_200);
  assert.equal(record.ranMs, 8_000);
});

test('an end is never in the future, however the engine counts', () => {
  const record = aRecord(1_000);
  const startedAtMs = engineMs + 1_200;
  see(record, { startedAtMs }, clockAt(1_500));
  const endedAtMs = startedAtMs + 2 * hourMs;
  see(record, { state: 'exited', exitCode: 0, startedAtMs, endedAtMs }, clockAt(9_300, 5 * hourMs));
  assert.equal(record.endedAtMs, 9_300);
});
