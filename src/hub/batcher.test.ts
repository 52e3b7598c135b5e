// Batches: everything once, in order, never two writes at a time, and a failure costs only its batch.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { createBatcher } from './batcher.ts';

const tick = () => new Promise((resolve) => setImmediate(resolve));

/** A batcher that keeps what it wrote; a batch that holds `failOn` fails. */
function aBatcher(options: { maxSize: number; failOn?: number; writeTicks?: number }) {
  const seen = { batches: [] as number[][], failed: [] as number[][], writing: 0, mostAtOnce: 0 };
  const batcher = createBatcher<number>({
    maxSize: options.maxSize,
    async write(batch) {
      seen.writing += 1;
      seen.mostAtOnce = Math.max(seen.mostAtOnce, seen.writing);
      for (let left = options.writeTicks ?? 1; left > 0; left -= 1) await tick();
      seen.writing -= 1;
      if (options.failOn !== undefined && batch.includes(options.failOn)) throw new Error('no');
      seen.batches.push(batch);
    },
    onError: (_, batch) => seen.failed.push(batch),
  });
  return { batcher, seen };
}

test('all items are written once, in order, in batches that never overlap', async () => {
  const anyPlan = fc.record({
    maxSize: fc.integer({ min: 1, max: 5 }),
    writeTicks: fc.nat(2),
    waits: fc.array(fc.nat(2), { maxLength: 30 }),
  });
  await fc.assert(
    fc.asyncProperty(anyPlan, async ({ waits, ...options }) => {
      const { batcher, seen } = aBatcher(options);
      for (const [item, ticks] of waits.entries()) {
        batcher.add(item);
        for (let left = ticks; left > 0; left -= 1) await tick();
      }
      await batcher.drain();
      assert.deepEqual(seen.batches.flat(), [...waits.keys()]);
      assert.ok(seen.mostAtOnce <= 1);
      assert.ok(seen.batches.every((batch) => batch.length <= options.maxSize));
    }),
    { numRuns: 100 },
  );
});

test('what arrives in one tick goes together', async () => {
  const { batcher, seen } = aBatcher({ maxSize: 10 });
  for (const item of [1, 2, 3]) batcher.add(item);
  await batcher.drain();
  assert.deepEqual(seen.batches, [[1, 2, 3]]);
});

test('a batch that fails is handed to onError, and the next ones are written', async () => {
  const { batcher, seen } = aBatcher({ maxSize: 2, failOn: 2 });
  for (const item of [1, 2, 3, 4]) batcher.add(item);
  await batcher.drain();
  batcher.add(5);
  await batcher.drain();
  assert.deepEqual([seen.failed, seen.batches], [[[1, 2]], [[3, 4], [5]]]);
});

test('a drain of nothing ends at once', async () => {
  await aBatcher({ maxSize: 1 }).batcher.drain();
});
