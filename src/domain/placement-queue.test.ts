// The job queue against a sorted array.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { aJob } from './placement-builders.ts';
import { compareJobs, type PendingJob } from './placement-model.ts';
import { JobQueue, LineHeap } from './placement-queue.ts';

const jobs = fc
  .uniqueArray(fc.record({ id: fc.nat(500), priority: fc.nat(2), submittedAtMs: fc.nat(20) }), {
    selector: ({ id }) => id,
    maxLength: 300,
    size: 'max',
  })
  .map((list) => list.map(({ id, ...rest }) => aJob({ id: `job-${id}`, ...rest })));

test('a queue gives its jobs in order, whatever was added and removed', () => {
  fc.assert(
    fc.property(jobs, fc.array(fc.tuple(fc.boolean(), fc.nat())), (added, steps) => {
      const queue = new JobQueue();
      let expected: PendingJob[] = [];
      for (const job of added) queue.add(job);
      expected = added.toSorted(compareJobs);
      const removed: PendingJob[] = [];
      for (const [isHead, at] of steps) {
        const job = isHead ? expected[0] : expected[at % Math.max(1, expected.length)];
        if (job === undefined) break;
        assert.equal(queue.countBefore(job), expected.indexOf(job));
        assert.equal(queue.remove(job), true);
        assert.equal(queue.remove(job), false);
        expected = expected.filter((other) => other !== job);
        removed.push(job);
        const back = at % 3 === 0 ? removed.pop() : undefined;
        if (back !== undefined) {
          queue.add(back);
          expected = [...expected, back].sort(compareJobs);
        }
        assert.equal(queue.head(), expected[0]);
      }
      assert.deepEqual(queue.jobs(), expected);
      assert.equal(queue.length, expected.length);
    }),
  );
});

test('a queue drained from the front and refilled keeps its order', () => {
  const queue = new JobQueue();
  const all = Array.from({ length: 1000 }, (_, index) => aJob({ id: `job-${index}`, submittedAtMs: index }));
  for (const job of all) queue.add(job);
  for (const job of all.slice(0, 900)) queue.remove(job);
  for (const job of all.slice(100, 900).reverse()) queue.add(job);
  assert.deepEqual(queue.jobs(), all.slice(100));
});

test('the heap gives all jobs of all lines in order', () => {
  fc.assert(
    fc.property(jobs, fc.integer({ min: 1, max: 9 }), (added, count) => {
      const lines = Array.from({ length: count }, () => ({ queue: new JobQueue() }));
      added.forEach((job, index) => {
        lines[index % count]?.queue.add(job);
      });
      const heap = new LineHeap<{ queue: JobQueue }>();
      for (const line of lines) if (line.queue.length > 0) heap.push(line);
      const taken: PendingJob[] = [];
      for (let line = heap.top(); line !== undefined; line = heap.top()) {
        const job = line.queue.head();
        assert.ok(job);
        taken.push(job);
        line.queue.remove(job);
        if (line.queue.length > 0) heap.siftTop();
        else heap.pop();
      }
      assert.deepEqual(taken, added.toSorted(compareJobs));
    }),
  );
});
