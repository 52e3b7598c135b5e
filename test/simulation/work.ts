// Kinds of work: how large the fleet is, how often what is asked of it, and which jobs are submitted.
import { noBudget } from '../../src/domain/budget.ts';
import type { JobSpec } from '../../src/domain/job.ts';
import { commandOf, type Program } from './container.ts';
import type { Random } from './random.ts';

export interface WorkKind {
  nodeCounts: readonly number[];
  /** Means, of which a seed has one. */
  submitEveryMs: readonly number[];
  stopEveryMs: readonly number[];
  operatorEveryMs: readonly number[];
  /** How often the operator closes the whole fleet for a while, and not one node. */
  closeShare: number;
  /** Of jobs that reach a live state, and of those whose run fails or has failed: how many the consumer stops then. */
  stopShares: { live: number; failing: number };
  spec: (work: Random) => JobSpec;
}

const usual = {
  nodeCounts: [1, 2, 3, 4, 5],
  submitEveryMs: [120, 250, 1_500],
  stopEveryMs: [700, 3_000],
  operatorEveryMs: [6_000, 30_000],
  closeShare: 0.3,
  stopShares: { live: 0.04, failing: 0.25 },
};

export const mixed: WorkKind = { ...usual, spec: mixedJob };

/** Short jobs that mostly fail and are tried again, and a fleet that often takes none: deadlines pass between tries. */
export const retried: WorkKind = {
  ...{ ...usual, nodeCounts: [3, 4, 5, 6], submitEveryMs: [60, 120], operatorEveryMs: [2_500, 5_000] },
  closeShare: 0.7,
  spec: (work) => {
    const job = mixedJob(work);
    const program = {
      ...{ runMs: work.between(0, work.pick([20, 20, 1_000])), exitCode: work.chance(0.5) ? 1 : 0 },
      ...{ termMs: work.between(1, 300), lineCount: work.integer(0, 2) },
    };
    return {
      ...withProgram(smaller(job, work), program),
      task: 'BATCH',
      maxTimeoutAssignMs: work.pick([200, 500, 1_000, 3_000]),
      maxTimeoutRunMs: 60_000,
      maxRetryCount: work.pick([0, 1, 1, 3]),
    };
  },
};

/** Jobs that start late or run too long, and do not hear of their stop: teardowns last. */
export const overdue: WorkKind = {
  ...{ ...usual, nodeCounts: [3, 4, 5, 6], submitEveryMs: [100, 200] },
  stopShares: { live: 0.08, failing: 0.35 },
  spec: (work) => {
    const job = mixedJob(work);
    const program = {
      ...{ runMs: work.chance(0.6) ? null : work.between(0, 3_000), exitCode: work.integer(0, 1) },
      ...{ termMs: work.chance(0.5) ? null : work.between(1, 1_500), lineCount: work.integer(0, 2) },
    };
    const { container, ...rest } = withProgram(smaller(job, work), program);
    return {
      ...rest,
      task: 'BATCH',
      container: { ...container, stopGraceMs: work.pick([0, 200, 1_000, 3_000]) },
      maxTimeoutStartMs: work.chance(0.4) ? work.pick([20, 60, 300]) : 60_000,
      maxTimeoutRunMs: work.integer(300, 2_000),
      maxRetryCount: work.pick([0, 1, 3]),
    };
  },
};

/** Jobs that last, so that a node which falls silent has some. */
export const lasting: WorkKind = {
  ...{ ...usual, nodeCounts: [7, 10, 14], submitEveryMs: [300, 600], operatorEveryMs: [30_000] },
  ...{ stopEveryMs: [3_000], closeShare: 0 },
  spec: (work) => {
    const job = mixedJob(work);
    const isPersistent = work.chance(0.3);
    const program = {
      ...{ runMs: isPersistent ? null : work.between(8_000, 30_000), exitCode: work.integer(0, 1) },
      ...{ termMs: work.chance(0.25) ? null : work.between(1, 1_500), lineCount: work.integer(0, 4) },
    };
    return {
      ...withProgram(smaller(job, work), program),
      task: isPersistent ? 'PERSISTENT' : 'BATCH',
      maxTimeoutAssignMs: 120_000,
      maxTimeoutRunMs: isPersistent ? null : work.pick([4_000, 60_000]),
    };
  },
};

/** The same on few nodes: each has several of them. */
export const crowded: WorkKind = { ...lasting, nodeCounts: [2, 3], submitEveryMs: [200, 400] };

/**
 * Each wants a GPU, most wait for one, and those that fail wait again behind others that matter more: a plan that comes
 * late names jobs that still wait, and GPUs that others have by then.
 */
export const contended: WorkKind = {
  ...{ ...usual, nodeCounts: [3, 4], submitEveryMs: [100, 200], stopEveryMs: [3_000] },
  ...{ operatorEveryMs: [30_000], closeShare: 0 },
  spec: (work) => {
    const job = smaller(mixedJob(work), work);
    const program = {
      ...{ runMs: work.between(0, 500), exitCode: work.chance(0.5) ? 1 : 0 },
      ...{ termMs: work.between(1, 300), lineCount: work.integer(0, 2) },
    };
    return {
      ...withProgram(job, program),
      task: 'BATCH',
      requirements: { ...job.requirements, cpuCount: 0, gpuCount: 1, minRamGb: 0 },
      maxTimeoutAssignMs: 20_000,
      maxTimeoutRunMs: 60_000,
      maxRetryCount: 3,
    };
  },
};

function withProgram(job: JobSpec, program: Program): JobSpec {
  return { ...job, container: { ...job.container, command: commandOf(program) } };
}

/** So that a node has several of them, and seldom waits for an image. */
function smaller(job: JobSpec, work: Random): JobSpec {
  const requirements = { ...job.requirements, cpuCount: work.integer(0, 1), minRamGb: work.integer(0, 1) };
  const image = work.chance(0.03) ? 'missing' : `image-${work.integer(1, 2)}`;
  return {
    ...job,
    requirements: { ...requirements, gpuCount: work.chance(0.2) ? 1 : 0 },
    container: { ...job.container, image },
  };
}

function mixedJob(work: Random): JobSpec {
  const isPersistent = work.chance(0.06);
  const gpuCount = work.weighted([
    { weight: 5, value: 0 },
    { weight: 5, value: 1 },
    { weight: 1, value: 2 },
  ]);
  const runsToLimit = work.chance(0.12);
  return {
    task: isPersistent ? 'PERSISTENT' : 'BATCH',
    title: 'simulated',
    description: null,
    requirements: {
      cpuCount: work.pick([0, 1, 1, 2, 3]),
      gpuCount,
      minRamGb: work.pick([0, 1, 2, 6]),
      minStorageGb: 0,
      minVramGb: 0,
      gpuName: null,
      gpuRegistryUuid: null,
      allowedRegionCodes: [],
    },
    container: {
      ...{ image: work.chance(0.03) ? 'missing' : `image-${work.integer(1, 6)}`, tag: 'latest' },
      ...{ host: null, user: null, secret: null, imagesrc: null, ports: null, env: {}, sshkey: null },
      ...{ allowedIps: [], entrypoint: null, stopSignal: null },
      volumes: work.chance(0.2) ? [aVolume] : [],
      command: commandOf(mixedProgram(work, (isPersistent && work.chance(0.7)) || runsToLimit)),
      stopGraceMs: work.chance(0.5) ? work.integer(0, 4_000) : null,
    },
    maxTimeoutAssignMs: work.chance(0.4) ? work.pick([150, 1_000, 3_000, 6_000]) : 120_000,
    maxTimeoutStartMs: work.chance(0.2) ? work.pick([20, 60, 300, 2_000, 4_000]) : 60_000,
    startTimeoutWaitsForPull: work.chance(0.2),
    maxTimeoutRunMs: isPersistent
      ? null
      : work.chance(0.15) || runsToLimit
        ? work.integer(500, 5_000)
        : 60_000,
    maxRetryCount: work.weighted([
      { weight: 4, value: 0 },
      { weight: 3, value: 1 },
      { weight: 2, value: 3 },
    ]),
    maxNodeCount: 1,
    onNodeLost: work.pick([null, null, 'replace', 'fail'] as const),
    budget: noBudget,
    labels: {},
    priority: work.pick([0, 0, 5, 9]),
  };
}

function mixedProgram(work: Random, isEndless: boolean): Program {
  return {
    runMs: isEndless ? null : work.between(0, work.pick([20, 20, 3_000, 3_000, 12_000])),
    exitCode: work.chance(0.4) ? 1 : 0,
    termMs: work.chance(0.25) ? null : work.between(1, 1_500),
    lineCount: work.integer(0, 4),
  };
}

const aVolume = { image: 'files', tag: 'latest', registry: '', user: '', secret: '', mount: '/files' };
