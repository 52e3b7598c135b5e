// Prices of runs, and what a time costs at one.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { costMicros, hourlyRateMicros } from './price.ts';

const rates = { unpricedGpuMicros: 100_000, cpuMicros: 10_000, ramGbMicros: 2_000 };

test('GPUs are priced each by its model, and CPU and RAM come with them', () => {
  const priced = { cpuCount: 64, ramBytes: 512e9, gpuRatesMicros: [690_000, 690_000, null] };
  assert.equal(hourlyRateMicros(priced, rates), 1_480_000);
});

test('without a GPU, CPU and RAM are priced', () => {
  assert.equal(hourlyRateMicros({ cpuCount: 2, ramBytes: 4e9, gpuRatesMicros: [] }, rates), 28_000);
});

test('an hour costs its rate, and parts of a time cost what the whole does, to a micro-dollar each', () => {
  fc.assert(
    fc.property(fc.nat(100_000_000), fc.nat(10 ** 9), fc.nat(10 ** 9), (rate, a, b) => {
      assert.equal(costMicros(rate, 3_600_000), rate);
      assert.ok(Math.abs(costMicros(rate, a) + costMicros(rate, b) - costMicros(rate, a + b)) <= 1);
    }),
  );
});

test('a year of the dearest node is exact', () => {
  assert.equal(costMicros(100_000_000, 365 * 24 * 3_600_000), 100_000_000 * 365 * 24);
});
