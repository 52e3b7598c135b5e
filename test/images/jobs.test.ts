// Images, volumes and GPUs from a signed request to the container and back: real server, real agent, real Docker.
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { runAgent } from '../../src/agent/agent.ts';
import { newId } from '../../src/main/ids.ts';
import type { RunEvent } from '../../src/protocol/agent-messages.ts';
import type { Job } from '../../src/protocol/job.ts';
import type { JobRun, JobRunDetail } from '../../src/protocol/job-run.ts';
import type { ListEnvelope } from '../../src/protocol/list.ts';
import type { Node } from '../../src/protocol/node.ts';
import { regionCodes } from '../../src/protocol/schema.ts';
import { docker } from '../agent/support/node.ts';
import { HandAgent } from '../support/agent.ts';
import { aJob, anInventory } from '../support/builders.ts';
import { stubGpus } from '../support/gpus.ts';
import { startTestServer } from '../support/server.ts';
import { Registry, secret, user } from './support/registry.ts';
import { importProgram, importTree } from './support/trees.ts';

const gpus = stubGpus(2);
const server = await startTestServer();
const { admin } = server;
const registry = new Registry({ isPrivate: true });
const stop = new AbortController();
const quiet = () => {};
const [hereRegion = '', handRegion = ''] = regionCodes;
let digest = '';
let agent: Promise<void> = Promise.resolve();
let nodeUuid = '';

before(async () => {
  await registry.start();
  importProgram('local/program:1');
  digest = await registry.publish('local/program:1', 'team/app:1');
  importTree('local/files:1', { files: { 'hello.txt': 'hello from the image\n' } });
  await registry.publish('local/files:1', 'team/files:1');
  await docker('rmi', 'local/program:1', 'local/files:1');
  const { node, client } = await register(hereRegion);
  nodeUuid = node.uuid;
  await new Promise<void>((resolve) => {
    agent = runAgent({
      nodeKey: { ...node.key, url: server.url, node_uuid: node.uuid },
      agentVersion: 'test',
      sessionUuid: newId(),
      engineSocket: null,
      signHeaders: (method, path) => client.sign(method, path),
      allowedRegistries: [registry.host],
      gpuTimes: { cleanLimitMs: 1_500, recheckEveryMs: 500 },
      log: { debug: quiet, info: quiet, warn: quiet, error: quiet },
      signal: stop.signal,
      onConnected: () => resolve(),
    });
  });
});
after(async () => {
  stop.abort();
  await agent;
  gpus[Symbol.dispose]();
  await registry[Symbol.asyncDispose]();
});

async function register(region: string) {
  const node = await admin.ask<Node & { key: { public_key: string; secret_key: string } }>(
    'POST',
    '/v1/nodes',
    {
      body: { name: `node-${region}`, region_code: region },
    },
  );
  const { public_key: publicKey, secret_key: secretKey } = node.key;
  return { node, client: server.client({ publicKey, secretKey }) };
}

function aJobHere(script: string, { container = {}, ...job }: Parameters<typeof aJob>[0] = {}) {
  const own = { image: 'test/busybox', tag: '1', command: ['/bin/sh', '-c', script], ...container };
  return aJob({ allowed_region_codes: [hereRegion], ...job, container: own });
}

async function ended(uuid: string): Promise<{ job: Job; run: JobRunDetail }> {
  for (let tries = 0; tries < 600; tries += 1) {
    const job = await admin.getJob(uuid);
    if (['COMPLETED', 'FAILED', 'CANCELLED'].includes(job.status)) return { job, run: await lastRun(uuid) };
    await delay(50);
  }
  return assert.fail(`job ${uuid} did not end`);
}

async function lastRun(jobUuid: string): Promise<JobRunDetail> {
  const runs = await admin.ask<ListEnvelope<JobRun>>('GET', `/v1/job-runs?filter[job_uuid]=${jobUuid}`);
  const [run] = runs.data;
  assert.ok(run, `job ${jobUuid} has a run`);
  return admin.ask('GET', `/v1/job-runs/${run.uuid}`);
}

async function eventually(what: string, isTrue: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 300; tries += 1) {
    if (await isTrue()) return;
    await delay(50);
  }
  assert.fail(`waited in vain for ${what}`);
}

const nodeHere = () => admin.ask<Node>('GET', `/v1/nodes/${nodeUuid}`);

test('a private image and a private volume run; size and digest are told; no secret is shown', async () => {
  const volume = { image: 'team/files', tag: '1', registry: registry.host, user, secret, mount: '/data/' };
  const container = { image: 'team/app', host: registry.host, user, secret, volumes: [volume] };
  const created = await admin.createJob(aJobHere('cat /data/hello.txt && echo >/data/new', { container }));
  assert.equal(created.image_size_bytes, null);
  const { job, run } = await ended(created.uuid);
  assert.equal(job.status, 'COMPLETED', job.status_reason ?? '');
  assert.equal(run.image_digest, digest);
  assert.ok((job.image_size_bytes ?? 0) > 1_000_000, `${job.image_size_bytes} bytes`);
  assert.equal(job.parameters.parameters.volumes[0]?.mount, '/data');
  assert.doesNotMatch(JSON.stringify([created, job, run]), new RegExp(secret));
  await eventually('the log', async () => (await lastRun(job.uuid)).logs === 'hello from the image\n');
  await eventually('the end of the volume', async () => (await docker('volume', 'ls', '-q')) === '');
});

test('a size that the job itself said stands', async () => {
  const created = await admin.createJob(aJobHere('true', { image_size_bytes: 5 }));
  assert.equal((await ended(created.uuid)).job.image_size_bytes, 5);
});

test('a refused image fails the job in a sentence, without its secret', async () => {
  const container = { image: 'team/app', host: registry.host, user, secret: 'wrong-horse-battery' };
  const { job } = await ended((await admin.createJob(aJobHere('true', { container }))).uuid);
  assert.equal(job.status, 'FAILED');
  assert.match(
    job.status_reason ?? '',
    /The registry refused image "127[^"]*team\/app:1"; check user and secret/,
  );
  assert.doesNotMatch(JSON.stringify(job), /wrong-horse/);
});

test('ten jobs of one GPU on a node of two: each has one, none has one that another has', async () => {
  const logFile = process.env.FLOTILLA_TEST_GPU_LOG ?? '';
  const before = readGpuLog(logFile).length;
  const jobs = await Promise.all(
    Array.from({ length: 10 }, () =>
      admin.createJob(aJobHere('echo $NVIDIA_VISIBLE_DEVICES; sleep 0.3', { gpu_count: 1 })),
    ),
  );
  const runs: JobRunDetail[] = [];
  for (const { uuid } of jobs) {
    const { job, run } = await ended(uuid);
    assert.equal(job.status, 'COMPLETED', job.status_reason ?? '');
    runs.push(run);
  }
  const given = readGpuLog(logFile).slice(before);
  assert.equal(given.length, 10);
  assert.deepEqual(
    given.map(({ uuids }) => uuids.length),
    Array(10).fill(1),
  );
  assert.deepEqual(new Set(given.flatMap(({ uuids }) => uuids)), new Set(gpus.uuids));
  for (const run of runs) {
    const [uuid = ''] = run.gpu_uuids;
    const others = runs.filter((other) => other.uuid !== run.uuid && other.gpu_uuids[0] === uuid);
    for (const other of others) {
      const isApart = endOf(run) <= startOf(other) || endOf(other) <= startOf(run);
      assert.ok(isApart, `${uuid} was with ${run.uuid} and ${other.uuid} at once`);
    }
    // What the engine gave is what was placed.
    await eventually('the log', async () => (await lastRun(run.job_uuid)).logs === `${uuid}\n`);
  }
});

/** What the engine's hook was called with, one line a container. */
function readGpuLog(file: string): { uuids: string[] }[] {
  if (!existsSync(file)) return [];
  const lines = readFileSync(file, 'utf8').trim().split('\n');
  return lines.map((line) => ({ uuids: (line.split(' ')[2] ?? '').split(',') }));
}

const startOf = (run: JobRun) => run.started_at_ms ?? assert.fail(`${run.uuid} did not start`);
const endOf = (run: JobRun) => run.ended_at_ms ?? assert.fail(`${run.uuid} did not end`);

test('a GPU that is not clean is shown with its reason and takes no job until it is clean', async () => {
  const dirty = await admin.createJob(aJobHere('sleep 1', { gpu_count: 1 }));
  await eventually('its start', async () => (await admin.getJob(dirty.uuid)).status === 'RUNNING');
  const [uuid = ''] = (await lastRun(dirty.uuid)).gpu_uuids;
  gpus.use(uuid, 5_000, [4711]);
  await ended(dirty.uuid);
  const gpuOf = async () => (await nodeHere()).gpus.find((gpu) => gpu.uuid === uuid);
  await eventually('the quarantine', async () => (await gpuOf())?.is_quarantined === true);
  assert.match((await gpuOf())?.quarantine_reason ?? '', /5000 MiB are in use/);
  assert.equal((await gpuOf())?.vram_gb_available, 0);
  await eventually('the release', async () => (await gpuOf())?.is_allocated === false);

  const both = await admin.createJob(aJobHere('true', { gpu_count: 2 }));
  const [first, second] = await Promise.all(
    [1, 2].map(async () => ended((await admin.createJob(aJobHere('true', { gpu_count: 1 }))).uuid)),
  );
  for (const one of [first, second]) {
    assert.equal(one?.job.status, 'COMPLETED', one?.job.status_reason ?? '');
    assert.equal(one?.run.gpu_uuids.includes(uuid), false);
  }
  assert.equal((await admin.getJob(both.uuid)).status, 'PENDING');
  gpus.use(uuid, 0);
  assert.equal((await ended(both.uuid)).job.status, 'COMPLETED');
  assert.equal((await gpuOf())?.is_quarantined, false);
});

test('the start timeout waits while bytes move, where the job asks for it', async () => {
  const { client } = await register(handRegion);
  const hand = await HandAgent.dial(client);
  await hand.greet({ inventory: anInventory({ cpus: 8 }) });
  const deadlineOf = async (runUuid: string): Promise<number> => {
    const [row] = await server.database.query<{ deadline: number }>(
      'select extract(epoch from start_deadline_at - created_at)::float8 as deadline from job_runs where id = $1',
      [runUuid],
    );
    return row === undefined ? assert.fail('the run is in the database') : Math.round(row.deadline * 10) / 10;
  };
  const told = (bytes: number): RunEvent => ({
    kind: 'preparing',
    progress: {
      phase: 'pulling',
      received_bytes: bytes,
      total_bytes: null,
      bytes_per_second: null,
      eta_ms: null,
    },
  });
  try {
    for (const waits of [false, true]) {
      const body = { allowed_region_codes: [handRegion], max_timeout_start_ms: 120_000 };
      await admin.createJob(aJob({ ...body, start_timeout_waits_for_pull: waits }));
      const { runs } = await hand.next('desired');
      const [order] = runs;
      assert.ok(order);
      await hand.report(order, told(0));
      assert.equal(await deadlineOf(order.run_uuid), 120);
      await delay(1_100);
      await hand.report(order, told(0));
      assert.equal(await deadlineOf(order.run_uuid), 120);
      await hand.report(order, told(1_000));
      const moved = (await deadlineOf(order.run_uuid)) - 120;
      assert.ok(waits ? moved > 1 : moved === 0, `moved by ${moved} s`);
    }
  } finally {
    hand.close();
  }
});
