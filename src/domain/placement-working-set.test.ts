// What the working set does between plans: packing choices, confirm and revert, tenancy, default shares.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { plan } from './placement.ts';
import { aJob, aNode, type JobWish, type NodeWish } from './placement-builders.ts';
import { shapeKey } from './placement-need.ts';
import { createWorkingSet, type WorkingSet, type WorkingSetOptions } from './placement-working-set.ts';

function withNodes(nodes: readonly NodeWish[], options: WorkingSetOptions = {}): WorkingSet {
  const workingSet = createWorkingSet(options);
  for (const node of nodes) workingSet.upsertNode(aNode(node));
  return workingSet;
}

/** Submits the jobs in this order and plans once. */
function placeJobs(workingSet: WorkingSet, jobs: readonly JobWish[], limit = Number.POSITIVE_INFINITY) {
  jobs.forEach((job, index) => {
    workingSet.upsertJob(aJob({ id: `job-${index}`, submittedAtMs: index, ...job }));
  });
  return plan(workingSet, 0, { limit }).placements;
}

function nodesOf(workingSet: WorkingSet, jobs: readonly JobWish[]): string[] {
  return placeJobs(workingSet, jobs).map(({ nodeId }) => nodeId);
}

test('one-GPU jobs pack the fuller node, so that the empty one stays whole', () => {
  const workingSet = withNodes([
    { id: 'empty', gpus: 4 },
    { id: 'half', gpus: [{ isAllocated: true }, { isAllocated: true }, {}, {}] },
  ]);
  const gpuJob = { gpuCount: 1 };
  assert.deepEqual(nodesOf(workingSet, [gpuJob, gpuJob, { gpuCount: 4 }]), ['half', 'half', 'empty']);
});

test('a job without GPUs avoids GPU nodes while another fits, then takes one', () => {
  const workingSet = withNodes([
    { id: 'gpu', gpus: 1, cpuCount: 4 },
    { id: 'plain', cpuCount: 64 },
  ]);
  const jobs = [{ cpuCount: 4 }, { cpuCount: 60 }, { cpuCount: 4 }];
  assert.deepEqual(nodesOf(workingSet, jobs), ['plain', 'plain', 'gpu']);
});

test('the node with the least CPU left over is taken, in whatever region', () => {
  const workingSet = withNodes([
    { id: 'large', cpuCount: 64, regionCode: 'a' },
    { id: 'small', cpuCount: 8, regionCode: 'b' },
  ]);
  assert.deepEqual(nodesOf(workingSet, [{ cpuCount: 6 }, { cpuCount: 6 }]), ['small', 'large']);
});

test('the card with the least sufficient VRAM is taken, across nodes and within one', () => {
  const a100 = { name: 'NVIDIA A100-SXM4-80GB', vramMib: 81_920 };
  const across = withNodes([
    { id: 'a100', gpus: [a100] },
    { id: '4090', gpus: 8 },
  ]);
  assert.deepEqual(nodesOf(across, [{ gpuCount: 1 }, { gpuCount: 1, minVramGb: 40 }]), ['4090', 'a100']);
  const within = withNodes([{ id: 'mixed', gpus: [a100, {}, a100] }]);
  const uuids = placeJobs(within, [{ gpuCount: 1 }]).flatMap(({ gpuUuids }) => gpuUuids);
  assert.deepEqual(uuids, ['mixed-gpu-1']);
});

test('several GPUs are of one kind where that can be', () => {
  const a100 = { name: 'NVIDIA A100-SXM4-80GB', vramMib: 81_920 };
  const workingSet = withNodes([{ id: 'mixed', gpus: [{}, a100, a100] }]);
  const [pair, rest] = placeJobs(workingSet, [{ gpuCount: 2 }, { gpuCount: 1 }]);
  assert.deepEqual(pair?.gpuUuids, ['mixed-gpu-1', 'mixed-gpu-2']);
  assert.deepEqual(rest?.gpuUuids, ['mixed-gpu-0']);
});

test('gpu_count 0 is a CPU-only job, whatever else it says of GPUs', () => {
  const workingSet = withNodes([{ id: 'plain' }]);
  const [placement] = placeJobs(workingSet, [{ gpuCount: 0, gpuName: 'RTX 4090', minVramGb: 24 }]);
  assert.deepEqual(placement?.gpuUuids, []);
});

test('jobs without minimums get a share: many fit a small node, not without bound', () => {
  const workingSet = withNodes([{ id: 'small', cpuCount: 1, ramBytes: 2e9, storageBytes: 100e9 }]);
  const placements = placeJobs(
    workingSet,
    Array.from({ length: 20 }, () => ({})),
  );
  assert.equal(placements.length, 7);
  assert.deepEqual(placements[0], {
    jobId: 'job-0',
    nodeId: 'small',
    nodeVersion: 1,
    gpuUuids: [],
    cpuCount: 0.1,
    ramBytes: 256e6,
    storageBytes: 1e9,
  });
});

test('a node without isolation takes only jobs of its own account, unless tenants are trusted', () => {
  const own = { id: 'own', accountId: 'owner', isolation: 'none' as const };
  const jobs = [{ accountId: 'stranger' }, { accountId: 'owner' }];
  const guarded = placeJobs(withNodes([own]), jobs);
  assert.deepEqual(
    guarded.map(({ jobId }) => jobId),
    ['job-1'],
  );
  assert.equal(placeJobs(withNodes([own], { trustTenants: true }), jobs).length, 2);
});

test("a node's isolation may come and go while jobs of its account wait", () => {
  const workingSet = withNodes([]);
  assert.deepEqual(nodesOf(workingSet, [{ accountId: 'owner', cpuCount: 10 }]), []);
  const node = { id: 'own', accountId: 'owner', isolation: 'none' as const, cpuCount: 8 };
  workingSet.upsertNode(aNode(node));
  assert.deepEqual(nodesOf(workingSet, []), []);
  workingSet.upsertNode(aNode({ ...node, version: 2, isolation: 'enforced' }));
  assert.deepEqual(nodesOf(workingSet, []), []);
  workingSet.upsertNode(aNode({ ...node, version: 3, cpuCount: 10 }));
  assert.deepEqual(nodesOf(workingSet, []), ['own']);
});

test('a waiting job notices that a node changed its region', () => {
  const workingSet = withNodes([{ id: 'node', regionCode: 'us-east-1' }]);
  assert.deepEqual(nodesOf(workingSet, [{ allowedRegionCodes: ['eu-west-1'] }]), []);
  workingSet.upsertNode(aNode({ id: 'node', version: 2, regionCode: 'eu-west-1' }));
  assert.deepEqual(nodesOf(workingSet, []), ['node']);
});

test('among nodes that were freed a waiting job gets the one that a new job would', () => {
  const nodes = [
    { id: 'a', cpuCount: 32, ramBytes: 32e9 },
    { id: 'b', cpuCount: 16, ramBytes: 64e9 },
  ];
  const workingSet = withNodes(nodes.map((node) => ({ ...node, cpuFree: 0 })));
  assert.deepEqual(nodesOf(workingSet, [{ cpuCount: 8 }]), []);
  for (const node of nodes) workingSet.upsertNode(aNode({ ...node, version: 2 }));
  const chosen = nodesOf(workingSet, []);
  assert.deepEqual(chosen, nodesOf(withNodes(nodes), [{ cpuCount: 8 }]));
});

test('figures read before an unconfirmed write do not give its capacity away', () => {
  const workingSet = withNodes([{ id: 'node', gpus: 1 }]);
  assert.equal(placeJobs(workingSet, [{ gpuCount: 1 }, { gpuCount: 1 }]).length, 1);
  workingSet.upsertNode(aNode({ id: 'node', version: 2, gpus: 1 }));
  assert.deepEqual(placeJobs(workingSet, []), []);
  workingSet.confirm('job-0');
  assert.deepEqual(placeJobs(workingSet, []), []);
  workingSet.upsertNode(aNode({ id: 'node', version: 3, gpus: 1 }));
  const [placement] = placeJobs(workingSet, []);
  assert.deepEqual([placement?.jobId, placement?.nodeVersion], ['job-1', 3]);
});

test('an older version of a node is ignored', () => {
  const workingSet = withNodes([{ id: 'node', version: 5, isSchedulable: false }]);
  workingSet.upsertNode(aNode({ id: 'node', version: 4 }));
  assert.deepEqual(placeJobs(workingSet, [{}]), []);
});

test('a reverted job takes its old place in line, a removed one does not come back', () => {
  const workingSet = withNodes([{ id: 'node', gpus: 2 }]);
  placeJobs(workingSet, [{ gpuCount: 1 }, { gpuCount: 1 }, { gpuCount: 1 }]);
  workingSet.removeJob('job-0');
  workingSet.revert('job-0');
  workingSet.revert('job-1');
  assert.equal(workingSet.queuePosition('job-0'), null);
  assert.equal(workingSet.queuePosition('job-1'), 1);
  assert.deepEqual(
    placeJobs(workingSet, []).map(({ jobId }) => jobId),
    ['job-1', 'job-2'],
  );
});

test('a placement outlives the removal and return of its node', () => {
  const workingSet = withNodes([{ id: 'node', gpus: 1 }]);
  placeJobs(workingSet, [{ gpuCount: 1 }, { gpuCount: 1 }]);
  workingSet.removeNode('node');
  workingSet.upsertNode(aNode({ id: 'node', gpus: 1 }));
  assert.deepEqual(placeJobs(workingSet, []), []);
  workingSet.revert('job-0');
  assert.deepEqual(
    placeJobs(workingSet, []).map(({ jobId }) => jobId),
    ['job-0'],
  );
});

test('jobs of equal need share a shape key that another process can make', () => {
  const owned = { id: 'own', accountId: 'owner', isolation: 'none' as const, cpuCount: 0 };
  const workingSet = withNodes([owned]);
  placeJobs(workingSet, [
    { gpuCount: 0, minVramGb: 8, accountId: 'a' },
    { accountId: 'b' },
    { accountId: 'b', gpuCount: 1 },
    { accountId: 'owner' },
  ]);
  const { requirements } = aJob();
  assert.equal(workingSet.shapeKey('job-1'), shapeKey(requirements, null));
  assert.equal(workingSet.shapeKey('job-3'), shapeKey(requirements, 'owner'));
  assert.equal(workingSet.shapeKey('job-0'), workingSet.shapeKey('job-1'));
  assert.notEqual(workingSet.shapeKey('job-1'), workingSet.shapeKey('job-2'));
  assert.equal(workingSet.shapeKey('job-9'), null);
});
