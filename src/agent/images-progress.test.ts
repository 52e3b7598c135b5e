// Progress adds up over images and volumes, tells the rate of late, and an end only while something is pulled.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Clock } from './clock.ts';
import { PreparationMeter } from './images-progress.ts';
import type { PullMeterReading } from './run-record.ts';

function aMeter() {
  let nowMs = 0;
  const clock: Clock = { nowMs: () => nowMs, wallMs: () => nowMs, after: () => () => {} };
  const told: (PullMeterReading | null)[] = [];
  const meter = new PreparationMeter(clock, (reading) => told.push(reading));
  const pull = (bytes: number, totalBytes: number | null, phase: 'pulling' | 'extracting' = 'pulling') =>
    meter.push({ phase, receivedBytes: bytes, totalBytes });
  return {
    meter,
    told,
    pull,
    pass: (ms: number) => {
      nowMs += ms;
    },
  };
}

test('asked once, then at most one word a second, with the rate of the last seconds', () => {
  const { meter, told, pull, pass } = aMeter();
  meter.push(null);
  meter.push(null);
  assert.equal(told.length, 1);
  assert.equal(told[0], null);
  // Fast for ten seconds, then slow.
  for (let step = 1; step <= 100; step += 1) {
    pass(100);
    pull(step * 1_000_000, 200_000_000);
  }
  for (let step = 1; step <= 100; step += 1) {
    pass(100);
    pull(100_000_000 + step * 1_000, 200_000_000);
  }
  assert.ok(told.length >= 19 && told.length <= 22, `${told.length} words`);
  const last = told.at(-1);
  assert.ok(last?.bytesPerSecond !== null && last?.bytesPerSecond !== undefined);
  assert.ok(Math.abs(last.bytesPerSecond - 10_000) < 1_000, `${last.bytesPerSecond}`);
  const expected = ((200_000_000 - last.receivedBytes) * 1000) / last.bytesPerSecond;
  assert.ok(Math.abs((last.etaMs ?? 0) - expected) <= 1);
});

test('bytes of all parts add up and never fall; a new phase is told at once, without an end', () => {
  const { meter, told, pull, pass } = aMeter();
  pull(10, 10);
  pass(50);
  pull(10, 10, 'extracting');
  meter.beginPart();
  pass(1_000);
  pull(5, null);
  pass(1_000);
  pull(3, 20);
  assert.deepEqual(
    told.map((reading) => [reading?.phase, reading?.receivedBytes, reading?.totalBytes]),
    [
      ['pulling', 10, 10],
      ['extracting', 10, 10],
      ['pulling', 15, null],
      ['pulling', 15, 30],
    ],
  );
  assert.equal(told[1]?.etaMs, null);
});
