// A container gets at least its reservation and never more than its node has.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { containerLimits } from './container-limits.ts';

const gib = 1024 ** 3;
const node = { cpuCount: 32, ramBytes: 256 * gib, gpuCount: 8 };

test('a run with one of eight GPUs may use an eighth of the memory', () => {
  const limits = containerLimits({ cpuCount: 1, ramBytes: gib, gpuCount: 1 }, node);
  assert.equal(limits.memoryBytes, Math.floor((256 * gib * 0.95) / 8));
  assert.equal(limits.shmBytes, Math.floor(limits.memoryBytes / 2));
  assert.equal(limits.cpuShares, 1024);
  assert.equal(limits.cpuCount, 32);
});

test('a reservation beyond the fair share is the limit', () => {
  const limits = containerLimits({ cpuCount: 1, ramBytes: 100 * gib, gpuCount: 0 }, node);
  assert.equal(limits.memoryBytes, 100 * gib);
});

test('a run that reserved nothing gets a default share', () => {
  const limits = containerLimits({ cpuCount: 0, ramBytes: 0, gpuCount: 0 }, node);
  assert.equal(limits.cpuShares, 256);
  assert.equal(limits.memoryBytes, Math.floor((256 * gib * 0.95 * 0.25) / 32));
  assert.equal(limits.pidCount, 4096);
});

test('limits hold the reservation and stay inside the node', () => {
  const amount = fc.record({
    cpuCount: fc.double({ min: 0, max: 128, noNaN: true }),
    ramBytes: fc.integer({ min: 0, max: 64 * gib }),
    gpuCount: fc.integer({ min: 0, max: 16 }),
  });
  const size = fc.record({
    cpuCount: fc.integer({ min: 1, max: 256 }),
    ramBytes: fc.integer({ min: 64 * 1024 * 1024, max: 2048 * gib }),
    gpuCount: fc.integer({ min: 0, max: 16 }),
  });
  fc.assert(
    fc.property(amount, size, (reservation, machine) => {
      const limits = containerLimits(reservation, machine);
      assert.ok(limits.memoryBytes >= Math.min(reservation.ramBytes, machine.ramBytes));
      assert.ok(limits.memoryBytes <= machine.ramBytes);
      assert.ok(limits.shmBytes <= limits.memoryBytes / 2);
      assert.ok(limits.cpuShares >= 2 && limits.cpuShares <= 262_144);
      for (const value of Object.values(limits)) assert.ok(Number.isFinite(value));
      assert.ok(
        [limits.memoryBytes, limits.cpuShares, limits.shmBytes, limits.pidCount].every(Number.isInteger),
      );
    }),
  );
});
