// Safety and fairness of the plan over random fleets and queues, against a naive judgement of what fits.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { matchesGpuName } from './gpu-match.ts';
import { plan } from './placement.ts';
import { aJob, aNode } from './placement-builders.ts';
import { compareJobs, type PendingJob, type Placement, type PlacementNode } from './placement-model.ts';
import { createWorkingSet, type WorkingSet, type WorkingSetOptions } from './placement-working-set.ts';

const all = { limit: Number.POSITIVE_INFINITY };
const never = { reserveAfterMs: Number.POSITIVE_INFINITY };
const cards = [
  { name: 'NVIDIA GeForce RTX 4090', vramMib: 24_564, registryUuid: null },
  { name: 'NVIDIA GeForce RTX 4090 D', vramMib: 24_564, registryUuid: null },
  { name: 'NVIDIA A100-SXM4-80GB', vramMib: 81_920, registryUuid: 'a100' },
  { name: 'Tesla T4', vramMib: 15_360, registryUuid: null },
];

const anyCard = fc
  .tuple(fc.constantFrom(...cards), fc.boolean())
  .map(([card, isAllocated]) => ({ ...card, isAllocated }));
const variedNode = fc
  .record({
    number: fc.nat(12),
    accountId: fc.constantFrom('a', 'b'),
    isolation: fc.constantFrom('enforced', 'enforced', 'none'),
    isSchedulable: fc.constantFrom(true, true, true, false),
    regionCode: fc.constantFrom('eu-west-1', 'us-east-1', null),
    cpuCount: fc.constantFrom(1, 8, 32, 64),
    cpuShare: fc.integer({ min: -1, max: 8 }),
    ramShare: fc.integer({ min: 0, max: 4 }),
    gpus: fc.array(anyCard, { maxLength: 4 }),
  })
  .map(({ number, cpuShare, ramShare, ...rest }) =>
    aNode({
      ...rest,
      id: `node-${number}`,
      cpuFree: (rest.cpuCount * cpuShare) / 8,
      ramFree: (64e9 * ramShare) / 4,
    }),
  );
/** Many of one make, so that they meet in one class and level. */
const commonNode = fc
  .tuple(fc.nat(12), fc.integer({ min: 5, max: 7 }), fc.boolean())
  .map(([number, cpuFree, isAllocated]) =>
    aNode({ id: `node-${number}`, cpuFree, gpus: [{ ...cards[3], isAllocated }] }),
  );
const anyNode = fc.oneof(variedNode, commonNode);
const anyJob = fc
  .record({
    number: fc.nat(60),
    accountId: fc.constantFrom('a', 'b', 'c'),
    priority: fc.nat(1),
    submittedAtMs: fc.nat(10),
    cpuCount: fc.constantFrom(0, 1, 5, 6, 7, 40),
    gpuCount: fc.constantFrom(0, 1, 1, 2, 3),
    minRamGb: fc.constantFrom(0, 16, 50),
    minVramGb: fc.constantFrom(0, 0, 20, 60),
    gpuName: fc.constantFrom(null, null, 'RTX 4090', 'A100', 'RTX 5090'),
    gpuRegistryUuid: fc.constantFrom(null, null, null, 'a100'),
    allowedRegionCodes: fc.constantFrom([], [], ['eu-west-1'], ['EU-WEST-1', 'us-east-1']),
    avoidNodeIds: fc.constantFrom([], ['node-1', 'node-2'], ['node-0', 'node-1', 'node-3', 'node-4']),
  })
  .map(({ number, ...rest }) => aJob({ id: `job-${number}`, ...rest }));
const fleet = fc.uniqueArray(anyNode, { selector: ({ id }) => id, maxLength: 10, size: 'max' });
const queue = fc.uniqueArray(anyJob, { selector: ({ id }) => id, maxLength: 30, size: 'max' });

function load(
  nodes: readonly PlacementNode[],
  jobs: readonly PendingJob[],
  options: WorkingSetOptions = never,
) {
  const workingSet = createWorkingSet(options);
  for (const node of nodes) workingSet.upsertNode(node);
  for (const job of jobs) workingSet.upsertJob(job);
  return workingSet;
}

/** The node as it is once the placements run on it. */
function after(node: PlacementNode, placements: readonly Placement[]): PlacementNode {
  let { cpuFree, ramFree, storageFree } = node;
  const taken = new Set<string>();
  for (const placement of placements.filter(({ nodeId }) => nodeId === node.id)) {
    cpuFree -= placement.cpuCount;
    ramFree -= placement.ramBytes;
    storageFree -= placement.storageBytes;
    for (const uuid of placement.gpuUuids) taken.add(uuid);
  }
  const gpus = node.gpus.map((gpu) => ({ ...gpu, isAllocated: gpu.isAllocated || taken.has(gpu.uuid) }));
  return { ...node, cpuFree, ramFree, storageFree, gpus };
}

/** Written apart from the working set, straight from the rules. */
function fitsNaively(job: PendingJob, node: PlacementNode): boolean {
  const { requirements } = job;
  const regions = requirements.allowedRegionCodes.map((code) => code.toLowerCase());
  if (!node.isSchedulable || (node.isolation === 'none' && node.accountId !== job.accountId)) return false;
  if (regions.length > 0 && !regions.includes(node.regionCode ?? '')) return false;
  if (node.cpuFree + 1e-9 < (requirements.cpuCount || 0.1)) return false;
  if (node.ramFree < (requirements.minRamGb * 1e9 || 256e6) || node.storageFree < 1e9) return false;
  return usableGpus(job, node).length >= requirements.gpuCount;
}

function usableGpus({ requirements }: PendingJob, node: PlacementNode): string[] {
  const usable = node.gpus.filter(
    (gpu) =>
      !gpu.isAllocated &&
      gpu.vramMib * 1_048_576 >= requirements.minVramGb * 1e9 &&
      (requirements.gpuName === null || matchesGpuName(requirements.gpuName, gpu)) &&
      (requirements.gpuRegistryUuid === null || requirements.gpuRegistryUuid === gpu.registryUuid),
  );
  return usable.map((gpu) => gpu.uuid);
}

function assertSafe(
  nodes: readonly PlacementNode[],
  jobs: readonly PendingJob[],
  placements: readonly Placement[],
) {
  assert.equal(new Set(placements.map(({ jobId }) => jobId)).size, placements.length);
  placements.forEach((placement, index) => {
    const job = jobs.find(({ id }) => id === placement.jobId);
    const node = nodes.find(({ id }) => id === placement.nodeId);
    assert.ok(job && node);
    const then = after(node, placements.slice(0, index));
    assert.ok(fitsNaively(job, then), `${job.id} does not fit ${node.id}`);
    const usable = usableGpus(job, then);
    assert.equal(new Set(placement.gpuUuids).size, job.requirements.gpuCount);
    for (const uuid of placement.gpuUuids) assert.ok(usable.includes(uuid), `${uuid} is not for ${job.id}`);
    assert.equal(placement.nodeVersion, node.version);
  });
}

function waiting(jobs: readonly PendingJob[], placements: readonly Placement[]): PendingJob[] {
  const placed = new Set(placements.map(({ jobId }) => jobId));
  return jobs.filter(({ id }) => !placed.has(id));
}

test('every placement fits, no GPU is given twice, no node goes over its capacity', () => {
  fc.assert(
    fc.property(fleet, queue, fc.constantFrom(never, { reserveAfterMs: 0 }), (nodes, jobs, options) => {
      assertSafe(nodes, jobs, plan(load(nodes, jobs, options), 1000, all).placements);
    }),
    { numRuns: 500 },
  );
});

test('a job left waiting fits no node: nobody is blocked by those ahead', () => {
  fc.assert(
    fc.property(fleet, queue, (nodes, jobs) => {
      const { placements, unfitCount } = plan(load(nodes, jobs), 0, all);
      const left = waiting(jobs, placements);
      for (const job of left) {
        for (const node of nodes) {
          assert.ok(!fitsNaively(job, after(node, placements)), `${job.id} fits ${node.id}`);
        }
      }
      assert.equal(unfitCount, left.length);
    }),
    { numRuns: 500 },
  );
});

test('jobs are placed in order: none before an older one of its priority that fitted then', () => {
  fc.assert(
    fc.property(fleet, queue, (nodes, jobs) => {
      const { placements } = plan(load(nodes, jobs), 0, all);
      placements.forEach((placement, index) => {
        const then = nodes.map((node) => after(node, placements.slice(0, index)));
        const job = jobs.find(({ id }) => id === placement.jobId);
        assert.ok(job);
        const undecided = waiting(jobs, placements.slice(0, index));
        const passedOver = undecided.filter((other) => compareJobs(other, job) < 0);
        for (const other of passedOver) assert.ok(!then.some((node) => fitsNaively(other, node)));
      });
    }),
    { numRuns: 300 },
  );
});

test('a failed node is taken only when no other fits', () => {
  fc.assert(
    fc.property(fleet, queue, (nodes, jobs) => {
      const { placements } = plan(load(nodes, jobs), 0, all);
      placements.forEach((placement, index) => {
        const job = jobs.find(({ id }) => id === placement.jobId);
        if (!job?.avoidNodeIds.includes(placement.nodeId)) return;
        const others = nodes.filter(({ id }) => !job.avoidNodeIds.includes(id));
        const then = others.map((node) => after(node, placements.slice(0, index)));
        assert.ok(!then.some((node) => fitsNaively(job, node)));
      });
    }),
    { numRuns: 300 },
  );
});

test('the plan depends on nodes and jobs alone, not on the order they came in, nor on the limit', () => {
  fc.assert(
    fc.property(fleet, queue, fc.integer({ min: 1, max: 4 }), (nodes, jobs, limit) => {
      const expected = plan(load(nodes, jobs), 0, { ...all, withReasons: true });
      const reversed = load(nodes.toReversed(), jobs.toReversed());
      const again = plan(reversed, 0, { ...all, withReasons: true });
      assert.deepEqual(again.placements, expected.placements);
      assert.deepEqual(new Map([...again.pending].sort()), new Map([...expected.pending].sort()));
      const stepwise = load(nodes, jobs);
      const parts: Placement[] = [];
      for (let part = plan(stepwise, 0, { limit }); part.placements.length > 0; ) {
        assert.ok(part.placements.length <= limit);
        parts.push(...part.placements);
        part = plan(stepwise, 0, { limit });
      }
      assert.deepEqual(parts, expected.placements);
    }),
  );
});

test('a reverted plan leaves no trace', () => {
  fc.assert(
    fc.property(fleet, queue, (nodes, jobs) => {
      const workingSet = load(nodes, jobs);
      const first = plan(workingSet, 0, all);
      for (const { jobId } of first.placements) workingSet.revert(jobId);
      assert.equal(workingSet.pendingCount, jobs.length);
      assert.deepEqual(plan(workingSet, 0, all).placements, first.placements);
    }),
    { numRuns: 300 },
  );
});

test('queue positions are the places in the order', () => {
  fc.assert(
    fc.property(queue, (jobs) => {
      const workingSet = load([], jobs);
      const positions = jobs.toSorted(compareJobs).map(({ id }) => workingSet.queuePosition(id));
      assert.deepEqual(
        positions,
        jobs.map((_, index) => index + 1),
      );
      assert.equal(workingSet.queuePosition('nobody'), null);
    }),
  );
});

/** What happens to a working set between plans; the database is the map that the steps also change. */
interface World {
  workingSet: WorkingSet;
  nodes: Map<string, PlacementNode>;
  jobs: Map<string, PendingJob>;
  now: number;
}
type Step = (world: World) => void;

const anyStep: fc.Arbitrary<Step> = fc.oneof(
  anyNode.map((node) => ({ nodes, workingSet }: World) => {
    const changed = { ...node, version: (nodes.get(node.id)?.version ?? 0) + 1 };
    nodes.set(node.id, changed);
    workingSet.upsertNode(changed);
  }),
  fc.tuple(fc.nat(12), fc.nat(3), fc.nat(4)).map(([number, card, kind]) => ({ nodes, workingSet }: World) => {
    const node = nodes.get(`node-${number}`);
    if (node === undefined) return;
    const changed = { ...node, ...changeOf(node, card)[kind] };
    nodes.set(node.id, changed);
    workingSet.upsertNode(changed);
  }),
  fc.nat(12).map((number) => ({ nodes, workingSet }: World) => {
    nodes.delete(`node-${number}`);
    workingSet.removeNode(`node-${number}`);
  }),
  anyJob.map((job) => ({ jobs, workingSet }: World) => {
    jobs.set(job.id, job);
    workingSet.upsertJob(job);
  }),
  fc.nat(60).map((number) => ({ jobs, workingSet }: World) => {
    jobs.delete(`job-${number}`);
    workingSet.removeJob(`job-${number}`);
  }),
  fc
    .record({ limit: fc.nat(6), skip: fc.nat(4), isNodeReadBack: fc.boolean() })
    .map((wish) => (world: World) => {
      planAndWrite(world, wish);
    }),
);

/** The single things that change on a node: a run's end, a region, a cordon. */
function changeOf(node: PlacementNode, card: number): Partial<PlacementNode>[] {
  const gpus = node.gpus.map((gpu, index) => (index === card ? { ...gpu, isAllocated: false } : gpu));
  return [
    { gpus },
    { cpuFree: Math.min(node.cpuCount, node.cpuFree + 1) },
    { ramFree: node.ramBytes },
    { regionCode: 'eu-west-1' },
    { isSchedulable: !node.isSchedulable },
  ];
}

/** A plan of which the database skips some; the nodes it wrote are read back, or not yet. */
function planAndWrite(world: World, wish: { limit: number; skip: number; isNodeReadBack: boolean }): void {
  const { workingSet, nodes, jobs } = world;
  world.now += 700;
  const { placements } = plan(workingSet, world.now, wish);
  assertSafe([...nodes.values()], [...jobs.values()], placements);
  placements.forEach((placement, index) => {
    const node = nodes.get(placement.nodeId);
    if (index % 5 === wish.skip || node === undefined) {
      workingSet.revert(placement.jobId);
      return;
    }
    workingSet.confirm(placement.jobId);
    jobs.delete(placement.jobId);
    nodes.set(node.id, after(node, [placement]));
  });
  if (!wish.isNodeReadBack) return;
  for (const node of nodes.values()) workingSet.upsertNode(node);
}

test('after any history the working set plans as one made anew, reasons included', () => {
  const options = fc.constantFrom(never, { reserveAfterMs: 0 }, { reserveAfterMs: 1500, maxReservations: 2 });
  fc.assert(
    fc.property(fc.array(anyStep, { maxLength: 100, size: 'max' }), options, (steps, wish) => {
      const world: World = { workingSet: createWorkingSet(wish), nodes: new Map(), jobs: new Map(), now: 0 };
      for (const step of steps) step(world);
      const anew = load([...world.nodes.values()], [...world.jobs.values()], wish);
      const later = world.now + 10_000;
      const expected = plan(anew, later, { ...all, withReasons: true });
      const actual = plan(world.workingSet, later, { ...all, withReasons: true });
      assert.deepEqual(actual.placements, expected.placements);
      assert.deepEqual(new Map([...actual.pending].sort()), new Map([...expected.pending].sort()));
      assert.equal(world.workingSet.pendingCount, anew.pendingCount);
    }),
    { numRuns: 1000 },
  );
});
