// A long waiter gets a node held, and what others may still do on it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { plan } from './placement.ts';
import { aJob, aNode, type JobWish, type NodeWish } from './placement-builders.ts';
import { createWorkingSet, type WorkingSet, type WorkingSetOptions } from './placement-working-set.ts';

const minute = 60_000;

function withNodes(nodes: readonly NodeWish[], options: WorkingSetOptions = {}): WorkingSet {
  const workingSet = createWorkingSet(options);
  for (const node of nodes) workingSet.upsertNode(aNode(node));
  return workingSet;
}

function submit(workingSet: WorkingSet, id: string, wish: JobWish = {}): void {
  const submittedAtMs = wish.submittedAtMs ?? 0;
  workingSet.upsertJob(aJob({ id, submittedAtMs, waitingSinceMs: submittedAtMs, ...wish }));
}

function placedAt(workingSet: WorkingSet, now: number): string[] {
  const { placements } = plan(workingSet, now, { limit: 100 });
  return placements.map(({ jobId, nodeId }) => `${jobId} on ${nodeId}`);
}

/** A four-GPU node of which this many are free. */
function freeGpus(id: string, free: number, version = 1): NodeWish {
  return { id, version, gpus: Array.from({ length: 4 }, (_, index) => ({ isAllocated: index >= free })) };
}

test('before it waited long, small jobs go past a large one', () => {
  const workingSet = withNodes([freeGpus('node', 3)]);
  submit(workingSet, 'large', { gpuCount: 4 });
  submit(workingSet, 'small', { gpuCount: 1, submittedAtMs: 1 });
  assert.deepEqual(placedAt(workingSet, minute), ['small on node']);
});

test('a long waiter starves without a held node, and is placed with one', () => {
  const rounds = (options: WorkingSetOptions) => {
    const workingSet = withNodes([freeGpus('node', 3)], options);
    submit(workingSet, 'large', { gpuCount: 4 });
    const placed: string[] = [];
    // Each round one more small job comes; one card is freed in rounds 2 and later, as runs of earlier jobs end.
    for (let round = 1; round <= 6; round += 1) {
      const now = 2 * minute + round * 1000;
      submit(workingSet, `small-${round}`, { gpuCount: 1, submittedAtMs: now });
      for (const line of placedAt(workingSet, now)) {
        const jobId = line.split(' ')[0] ?? '';
        workingSet.confirm(jobId);
        placed.push(jobId);
      }
      const takenBySmall = placed.includes('large') ? 4 : Math.min(1, placed.length);
      workingSet.upsertNode(aNode(freeGpus('node', 4 - takenBySmall, round + 1)));
    }
    return placed;
  };
  assert.ok(!rounds({ reserveAfterMs: Number.POSITIVE_INFINITY }).includes('large'));
  assert.equal(rounds({})[0], 'large');
});

test('the node that lacks least is held, and given back when its job is placed or removed', () => {
  const workingSet = withNodes([freeGpus('far', 1), freeGpus('near', 3), freeGpus('x', 0), freeGpus('y', 0)]);
  submit(workingSet, 'large', { gpuCount: 4 });
  submit(workingSet, 'pair', { gpuCount: 2, submittedAtMs: 1 });
  submit(workingSet, 'single', { gpuCount: 1, submittedAtMs: 2 });
  assert.deepEqual(placedAt(workingSet, 2 * minute), ['single on far']);
  workingSet.removeJob('large');
  assert.deepEqual(placedAt(workingSet, 2 * minute), ['pair on near']);
});

test('jobs ahead of the long waiter still go on the held node', () => {
  const workingSet = withNodes([freeGpus('node', 3)]);
  submit(workingSet, 'large', { gpuCount: 4 });
  submit(workingSet, 'later', { gpuCount: 1, submittedAtMs: 1 });
  assert.deepEqual(placedAt(workingSet, 2 * minute), []);
  submit(workingSet, 'urgent', { gpuCount: 1, priority: 1, submittedAtMs: 2 });
  assert.deepEqual(placedAt(workingSet, 2 * minute), ['urgent on node']);
});

test('later jobs use what the long waiter does not need', () => {
  const workingSet = withNodes([{ id: 'node', cpuCount: 16, gpus: [{ isAllocated: true }] }]);
  submit(workingSet, 'held', { gpuCount: 1, cpuCount: 8 });
  submit(workingSet, 'fits', { cpuCount: 8, submittedAtMs: 1 });
  submit(workingSet, 'waits', { cpuCount: 1, submittedAtMs: 2 });
  assert.deepEqual(placedAt(workingSet, 2 * minute), ['fits on node']);
});

test('while cards are lacking, CPU that is lacking too is not kept idle', () => {
  const workingSet = withNodes([{ id: 'node', cpuCount: 16, cpuFree: 4, gpus: [{ isAllocated: true }] }]);
  submit(workingSet, 'held', { gpuCount: 1, cpuCount: 8 });
  submit(workingSet, 'small', { cpuCount: 1, submittedAtMs: 1 });
  assert.deepEqual(placedAt(workingSet, 2 * minute), ['small on node']);
});

test('a held node is free for others in the very pass that places its job elsewhere', () => {
  const workingSet = withNodes([freeGpus('held', 3), freeGpus('other', 0)]);
  submit(workingSet, 'large', { gpuCount: 4 });
  submit(workingSet, 'pair', { gpuCount: 2, submittedAtMs: 1 });
  assert.deepEqual(placedAt(workingSet, 2 * minute), []);
  workingSet.upsertNode(aNode(freeGpus('other', 4, 2)));
  assert.deepEqual(placedAt(workingSet, 2 * minute), ['large on other', 'pair on held']);
});

test('later jobs go on the held node at once where the long waiter fits beside them', () => {
  const sixGpus = (free: number, version: number) => ({
    ...freeGpus('node', 0, version),
    gpus: Array.from({ length: 6 }, (_, index) => ({ isAllocated: index >= free })),
  });
  const workingSet = withNodes([sixGpus(3, 1)]);
  submit(workingSet, 'large', { gpuCount: 4 });
  submit(workingSet, 'pair', { gpuCount: 2, submittedAtMs: 1 });
  assert.deepEqual(placedAt(workingSet, 2 * minute), []);
  workingSet.upsertNode(aNode(sixGpus(6, 2)));
  assert.deepEqual(placedAt(workingSet, 2 * minute), ['large on node', 'pair on node']);
});

test('few nodes are held: never more than asked, nor than a quarter of those there are', () => {
  const held = (nodeCount: number, options: WorkingSetOptions) => {
    const nodes = Array.from({ length: nodeCount }, (_, index) => freeGpus(`node-${index}`, 3));
    const workingSet = withNodes(nodes, options);
    for (let index = 0; index < 20; index += 1) {
      submit(workingSet, `large-${index}`, { gpuCount: 4, minRamGb: index + 1 });
    }
    placedAt(workingSet, 2 * minute);
    return workingSet.reservations.length;
  };
  assert.equal(held(1, {}), 1);
  assert.equal(held(8, {}), 2);
  assert.equal(held(40, {}), 4);
  assert.equal(held(40, { maxReservations: 1 }), 1);
});

test('a job that no empty node fits holds none', () => {
  const workingSet = withNodes([freeGpus('node', 3)]);
  submit(workingSet, 'impossible', { gpuCount: 5 });
  submit(workingSet, 'small', { gpuCount: 1, submittedAtMs: 1 });
  assert.deepEqual(placedAt(workingSet, 2 * minute), ['small on node']);
});

test('a held node that stops taking work is let go, and another is held', () => {
  const workingSet = withNodes([freeGpus('far', 1), freeGpus('near', 3)]);
  submit(workingSet, 'large', { gpuCount: 4 });
  placedAt(workingSet, 2 * minute);
  workingSet.upsertNode(aNode({ ...freeGpus('near', 3, 2), isSchedulable: false }));
  submit(workingSet, 'small', { gpuCount: 1, submittedAtMs: 1 });
  assert.deepEqual(placedAt(workingSet, 3 * minute), []);
  assert.deepEqual(
    workingSet.reservations.map(({ entry }) => entry.node.id),
    ['far'],
  );
});
