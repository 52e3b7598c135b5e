// Stop Job on real containers, in every state of a job: afterwards nothing of the run is left and its share is free.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Job } from '../../src/protocol/job.ts';
import type { Client } from '../../src/sdk/client.ts';
import { ApiError } from '../../src/sdk/errors.ts';
import { FakeRegistry } from '../agent/support/registry.ts';
import { startTestPostgres, type TestPostgres } from '../support/postgres.ts';
import type { Command } from './support/command.ts';
import { containersOf, containersWith, needsDocker } from './support/docker.ts';
import { eventually } from './support/eventually.ts';
import {
  aScript,
  completeLog,
  createPlace,
  onlyRunOf,
  type Place,
  runsOf,
  stubGpus,
  untilStatus,
} from './support/place.ts';

let place: Place;
let client: Client;
let node: Command;
/** null: the embedded one. */
let postgres: TestPostgres | null = null;

before(async () => {
  place = createPlace();
  if (needsDocker.skip) return;
  if (process.env.FLOTILLA_TEST_POSTGRES === 'system') postgres = await startTestPostgres();
  await place.server(postgres === null ? {} : { DATABASE_URL: await postgres.createDatabase() });
  node = await place.node(stubGpus(2));
  client = place.client();
});
after(async () => {
  await place.remove();
  await postgres?.stop();
});

const waitMs = 30_000;
const honouring = "trap 'echo bye; exit 5' TERM; echo ready; while :; do sleep 0.05; done";
const ignoring = "trap '' TERM; echo ready; while :; do sleep 0.05; done";

/** RUNNING, and its script has set its trap. */
async function startReady(script: string, container: Parameters<typeof aScript>[1] = {}): Promise<string> {
  const { uuid } = await client.jobs.create(aScript(script, container));
  await untilStatus(client, uuid, 'RUNNING');
  const run = await onlyRunOf(client, uuid);
  await eventually('the script to be ready', async () =>
    (await client.runs.logs(run.uuid)).text.includes('ready\n'),
  );
  return uuid;
}

/** Job and run CANCELLED, teardown proved, no container, and the node holds nothing any more. */
async function assertStopped(job: Job): Promise<void> {
  assert.equal(job.status, 'CANCELLED');
  assert.equal(job.teardown?.state, 'verified');
  assert.equal((await onlyRunOf(client, job.uuid)).status, 'CANCELLED');
  assert.deepEqual(await containersOf(job.uuid), []);
  await assertNodeFree();
}

async function assertNodeFree(): Promise<void> {
  const { data } = await client.nodes.list();
  const [found] = data;
  assert.ok(found);
  assert.equal(found.job_run_count, 0);
  assert.deepEqual(
    found.gpus.map((gpu) => gpu.is_allocated),
    [false, false],
  );
  assert.deepEqual(
    found.rams.map((ram) => ram.memory_gb_available),
    found.rams.map((ram) => ram.memory_gb_max),
  );
}

test(
  'RUNNING: a program that honours TERM ends by itself, and its last words are kept',
  needsDocker,
  async () => {
    const uuid = await startReady(honouring);
    const job = await client.jobs.cancel(uuid, { reason: 'seen enough', wait_ms: waitMs });
    await assertStopped(job);
    assert.match(job.status_reason ?? '', /seen enough/);
    const run = await onlyRunOf(client, uuid);
    assert.equal(run.exit_code, 5, 'it was not killed');
    assert.equal(await completeLog(client, run.uuid), 'ready\nbye\n');
  },
);

test('RUNNING: a program that ignores TERM is killed after its grace', needsDocker, async () => {
  const uuid = await startReady(ignoring);
  const askedAt = performance.now();
  const job = await client.jobs.cancel(uuid, { stop_grace_ms: 700, wait_ms: waitMs });
  assert.ok(performance.now() - askedAt >= 700, 'the grace was given');
  await assertStopped(job);
  assert.equal((await onlyRunOf(client, uuid)).exit_code, 137);
});

test('RUNNING: the stop signal and the grace of the job itself are used', needsDocker, async () => {
  const script =
    "trap '' TERM; trap 'echo interrupted; exit 9' INT; echo ready; while :; do sleep 0.05; done";
  const uuid = await startReady(script, { container: { stop_signal: 'SIGINT', stop_grace_ms: 60_000 } });
  await assertStopped(await client.jobs.cancel(uuid, { wait_ms: waitMs }));
  assert.equal((await onlyRunOf(client, uuid)).exit_code, 9);
});

test(
  'RUNNING: the answer without wait_ms is CANCELLED at once, with the teardown under way',
  needsDocker,
  async () => {
    const uuid = await startReady(ignoring);
    const job = await client.jobs.cancel(uuid, { stop_grace_ms: 500 });
    assert.equal(job.status, 'CANCELLED');
    assert.ok(['requested', 'signalled'].includes(job.teardown?.state ?? 'none'));
    assert.equal((await containersOf(uuid)).length, 1, 'the container has its grace');
    assert.equal((await onlyRunOf(client, uuid)).status, 'CANCELLING');
    await assertStopped(await client.jobs.cancel(uuid, { wait_ms: waitMs }));
  },
);

test('RUNNING: the GPUs of a stopped run are free again', needsDocker, async () => {
  const job = { gpu_count: 2, gpu_name: 'RTX 4090', min_vram_gb: 24 };
  const uuid = await startReady(honouring, { job });
  const [holder] = (await client.nodes.list()).data;
  assert.deepEqual(
    holder?.gpus.map((gpu) => gpu.is_allocated),
    [true, true],
  );
  const next = await client.jobs.create(aScript('echo "$NVIDIA_VISIBLE_DEVICES"', { job: { gpu_count: 1 } }));
  const stopped = await client.jobs.cancel(uuid, { wait_ms: waitMs });
  assert.deepEqual([stopped.status, stopped.teardown?.state], ['CANCELLED', 'verified']);
  await untilStatus(client, next.uuid, 'COMPLETED');
  const [gpu] = (await onlyRunOf(client, next.uuid)).gpu_uuids;
  assert.ok(gpu);
  assert.equal(await completeLog(client, (await onlyRunOf(client, next.uuid)).uuid), `${gpu}\n`);
  await eventually('no container', async () => (await containersOf(next.uuid)).length === 0);
  await eventually('a free node', async () => (await client.nodes.list()).data[0]?.job_run_count === 0);
  await assertNodeFree();
});

test('RUNNING: a second stop keeps the first reason', needsDocker, async () => {
  const uuid = await startReady(honouring);
  await client.jobs.cancel(uuid, { reason: 'first' });
  const again = await client.jobs.cancel(uuid, { reason: 'second', wait_ms: waitMs });
  await assertStopped(again);
  assert.match(again.status_reason ?? '', /first/);
});

test('PREPARING: a pull that stalls is given up at once', needsDocker, async () => {
  const registry = await new FakeRegistry({}).listen();
  try {
    const container = { image: 'stalled/app', tag: '1', host: registry.host };
    const { uuid } = await client.jobs.create(aScript('true', { container }));
    await registry.untilBlobAsked();
    await eventually('PREPARING', async () => (await onlyRunOf(client, uuid)).status === 'PREPARING');
    await assertStopped(await client.jobs.cancel(uuid, { wait_ms: waitMs }));
  } finally {
    await registry.close();
  }
});

test('ASSIGNED: a node that has not heard of the run yet never starts it', needsDocker, async () => {
  node.signal('SIGSTOP');
  try {
    const { uuid } = await client.jobs.create(aScript('echo must not run'));
    await untilStatus(client, uuid, 'ASSIGNED');
    const job = await client.jobs.cancel(uuid);
    assert.deepEqual([job.status, job.teardown?.state], ['CANCELLED', 'requested']);
    node.signal('SIGCONT');
    await assertStopped(await client.jobs.cancel(uuid, { wait_ms: waitMs }));
    const run = await onlyRunOf(client, uuid);
    assert.deepEqual([run.started_at_ms, await completeLog(client, run.uuid)], [null, '']);
  } finally {
    node.signal('SIGCONT');
  }
});

test('PENDING: the job is never placed', needsDocker, async () => {
  const { uuid } = await client.jobs.create(aScript('true', { job: { cpu_count: 4096 } }));
  const job = await client.jobs.cancel(uuid, { wait_ms: waitMs });
  assert.deepEqual([job.status, job.teardown], ['CANCELLED', null]);
  assert.deepEqual(await runsOf(client, uuid), []);
});

test('COMPLETED and FAILED: the job is as it was', needsDocker, async () => {
  for (const [script, status] of [
    ['true', 'COMPLETED'],
    ['exit 3', 'FAILED'],
  ] as const) {
    const { uuid } = await client.jobs.create(aScript(script));
    const ended = await untilStatus(client, uuid, status);
    const job = await client.jobs.cancel(uuid, { reason: 'too late', wait_ms: waitMs });
    assert.deepEqual([job.status, job.status_reason], [status, ended.status_reason]);
    await eventually('no container', async () => (await containersOf(uuid)).length === 0);
  }
  await eventually('a free node', async () => (await client.nodes.list()).data[0]?.job_run_count === 0);
});

test('unknown: 404', needsDocker, async () => {
  const stop = client.jobs.cancel('019582a6-27fc-731d-8000-000000000000');
  await assert.rejects(stop, (error) => error instanceof ApiError && error.status === 404);
});

test('twenty stops at once leave nothing', needsDocker, async () => {
  const bodies = Array.from({ length: 20 }, () => aScript(honouring));
  const jobs = await Promise.all(bodies.map((body) => client.jobs.create(body)));
  for (const { uuid } of jobs) await untilStatus(client, uuid, 'RUNNING');
  const stopped = await Promise.all(jobs.map(({ uuid }) => client.jobs.cancel(uuid, { wait_ms: 60_000 })));
  for (const job of stopped) {
    assert.deepEqual([job.status, job.teardown?.state], ['CANCELLED', 'verified']);
    assert.equal((await onlyRunOf(client, job.uuid)).status, 'CANCELLED');
  }
  assert.deepEqual(await containersWith('flotilla.job'), []);
  await assertNodeFree();
});

test(
  'a stop that meets the end of the program: job, run and container agree, whoever was first',
  needsDocker,
  async () => {
    const outcomes = await Promise.all([0, 300, 600, 900, 1200, 1500, 4000].map(raceWithExit));
    for (const { job, run } of outcomes) {
      assert.equal(run.status, job.status);
      assert.ok(job.status === 'COMPLETED' || job.status === 'CANCELLED', job.status);
      if (job.status === 'COMPLETED') assert.equal(run.exit_code, 0);
      assert.equal(job.teardown?.state, job.status === 'CANCELLED' ? 'verified' : undefined);
      assert.deepEqual(await containersOf(job.uuid), []);
    }
    assert.equal(outcomes[0]?.job.status, 'CANCELLED');
    assert.equal(outcomes.at(-1)?.job.status, 'COMPLETED');
    await assertNodeFree();
  },
);

/** Stops a job that runs for about a second, this long after it was seen RUNNING. */
async function raceWithExit(delayMs: number) {
  const { uuid } = await client.jobs.create(aScript('sleep 1.2'));
  await eventually('RUNNING', async () => (await client.jobs.get(uuid)).started_at !== null);
  await sleep(delayMs);
  const answer = await client.jobs.cancel(uuid, { wait_ms: waitMs });
  await eventually('the container to be gone', async () => (await containersOf(uuid)).length === 0);
  const job = await eventually('the proof', async () => {
    const seen = await client.jobs.get(uuid);
    return (await onlyRunOf(client, uuid)).status === seen.status ? seen : null;
  });
  assert.equal(answer.status, job.status, 'the answer to the stop stands');
  return { job, run: await onlyRunOf(client, uuid) };
}
