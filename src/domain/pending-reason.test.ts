// The sentence, counts and nearest change of a job that waits.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PendingReason } from './pending-reason.ts';
import { plan } from './placement.ts';
import { aJob, aNode, type JobWish, type NodeWish } from './placement-builders.ts';
import { createWorkingSet, type WorkingSetOptions } from './placement-working-set.ts';

/** Why the job waits on a fleet of these nodes. */
function reasonFor(job: JobWish, nodes: readonly NodeWish[], options: WorkingSetOptions = {}): PendingReason {
  const workingSet = createWorkingSet(options);
  nodes.forEach((node, index) => {
    workingSet.upsertNode(aNode({ id: `node-${index}`, ...node }));
  });
  workingSet.upsertJob(aJob(job));
  const { pending } = plan(workingSet, 0, { limit: 1, withReasons: true });
  const reason = pending.get(workingSet.shapeKey('job-1') ?? '');
  assert.ok(reason, 'the job waits');
  return reason;
}

const busyCard = { isAllocated: true };
const a100 = { name: 'NVIDIA A100-SXM4-40GB', vramMib: 40_960, registryUuid: 'A100' };

test('no nodes', () => {
  assert.deepEqual(reasonFor({}, []), {
    code: 'no_nodes',
    message: 'No node is registered; add one with `flotilla node register`.',
    excluded: {},
    nodesConsidered: 0,
    wouldFit: null,
  });
});

test('too much VRAM: says how many nodes would fit at less', () => {
  const reason = reasonFor({ gpuCount: 1, minVramGb: 48 }, [
    { gpus: [a100] },
    { gpus: [a100, busyCard] },
    { gpus: [a100] },
    { gpus: 4 },
    {},
  ]);
  assert.deepEqual(reason, {
    code: 'no_fitting_node',
    message: 'Needs 48 GB of VRAM, which no node has; 3 nodes would fit at 40 GB of VRAM.',
    excluded: { vram: 4, no_gpu: 1 },
    nodesConsidered: 5,
    wouldFit: '3 nodes would fit at 40 GB of VRAM',
  });
});

test('busy: fits when free, and says what would fit now', () => {
  const reason = reasonFor({ gpuCount: 2 }, [{ gpus: [busyCard, busyCard, {}] }, { gpus: 1 }]);
  assert.equal(reason.code, 'busy');
  assert.deepEqual(reason.excluded, { gpu_busy: 1, gpu_count: 1 });
  assert.equal(reason.wouldFit, '2 nodes would fit at 1 GPU');
  assert.equal(reason.message, 'Waits for GPUs on 1 node that fits when free; 2 nodes would fit at 1 GPU.');
});

test('the smallest change is named, not just any', () => {
  const reason = reasonFor({ cpuCount: 32, minRamGb: 8 }, [
    { cpuCount: 30 },
    { cpuCount: 64, ramBytes: 2e9 },
    { cpuCount: 31, ramBytes: 2e9 },
  ]);
  assert.equal(reason.wouldFit, '1 node would fit at 30 CPUs');
  assert.deepEqual(reason.excluded, { cpu: 2, ram: 1 });
});

test('no change is named where it takes two, or where the share cannot be less', () => {
  assert.equal(reasonFor({ cpuCount: 32, minRamGb: 80 }, [{ cpuCount: 8 }]).wouldFit, null);
  assert.equal(reasonFor({}, [{ cpuFree: 0.05 }]).wouldFit, null);
});

test('a model that no node has, and another that would do', () => {
  const reason = reasonFor({ gpuCount: 1, gpuName: 'RTX 5090' }, [{ gpus: 1 }, {}]);
  assert.equal(reason.code, 'gpu_model_unknown');
  assert.deepEqual(reason.excluded, { gpu_model: 1, no_gpu: 1 });
  assert.equal(
    reason.message,
    'No node has a GPU named "RTX 5090"; 1 node would fit with NVIDIA GeForce RTX 4090.',
  );
});

test('a registry uuid that no node has, and one that is busy', () => {
  const unknown = reasonFor({ gpuCount: 1, gpuRegistryUuid: 'h100' }, [{ gpus: [a100] }]);
  assert.equal(unknown.code, 'gpu_registry_unknown');
  const busy = reasonFor({ gpuCount: 1, gpuRegistryUuid: 'a100' }, [
    { gpus: [{ ...a100, isAllocated: true }] },
  ]);
  assert.equal(busy.code, 'busy');
});

test('regions', () => {
  const reason = reasonFor({ allowedRegionCodes: ['us-east-1'] }, [{}, {}, { isSchedulable: false }]);
  assert.equal(reason.code, 'region');
  assert.deepEqual(reason.excluded, { region: 2, unavailable: 1 });
  assert.equal(reason.message, 'No node is in region us-east-1; 2 nodes would fit in region eu-west-1.');
});

test('nodes of other accounts without isolation', () => {
  const nodes = [{ isolation: 'none' as const }];
  assert.equal(reasonFor({}, nodes).code, 'isolation');
  const smaller = reasonFor({ gpuCount: 2 }, [{ isolation: 'none', gpus: 1 }]);
  assert.deepEqual([smaller.code, smaller.wouldFit], ['isolation', null]);
  assert.equal(reasonFor({ cpuCount: 99 }, nodes, { trustTenants: true }).code, 'no_fitting_node');
});

test('nodes that take no work now', () => {
  const reason = reasonFor({ cpuCount: 10 }, [{ isSchedulable: false }, { cpuCount: 8 }]);
  assert.equal(reason.code, 'nodes_unavailable');
  assert.equal(
    reason.message,
    'Fits 1 node that takes no work now (unreachable or cordoned); 1 node would fit at 8 CPUs.',
  );
  const all = reasonFor({ cpuCount: 99 }, [{ isSchedulable: false }]);
  assert.equal(all.message, 'No node takes work now: all are unreachable or cordoned.');
});

test('a node held for a longer wait is named as such', () => {
  const workingSet = createWorkingSet();
  workingSet.upsertNode(aNode({ id: 'node', gpus: [busyCard, {}] }));
  workingSet.upsertJob(aJob({ id: 'held', gpuCount: 2 }));
  workingSet.upsertJob(aJob({ id: 'later', gpuCount: 1, submittedAtMs: 1 }));
  const { pending } = plan(workingSet, 120_000, { limit: 9, withReasons: true });
  const reason = pending.get(workingSet.shapeKey('later') ?? '');
  assert.deepEqual(reason?.excluded, { reserved: 1 });
  assert.equal(reason?.code, 'busy');
});

test('a job that the limit left over is next', () => {
  const workingSet = createWorkingSet();
  workingSet.upsertNode(aNode());
  workingSet.upsertJob(aJob());
  const { pending } = plan(workingSet, 0, { limit: 0, withReasons: true });
  assert.deepEqual(
    [...pending.values()].map(({ code, wouldFit }) => ({ code, wouldFit })),
    [{ code: 'queued', wouldFit: null }],
  );
});

test('the change that is named does make the job fit', () => {
  const nodes = [{ gpus: [a100], cpuCount: 8 }, { gpus: 2 }];
  const wish = { gpuCount: 2, minVramGb: 30, cpuCount: 12 };
  const { wouldFit } = reasonFor(wish, nodes);
  assert.equal(wouldFit, '1 node would fit at 24 GB of VRAM');
  assert.throws(() => reasonFor({ ...wish, minVramGb: 24 }, nodes), /the job waits/);
});
