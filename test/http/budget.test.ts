// Budgets on real SQL: warned near a limit, stopped at it with the reason, renewed in time, idle only as far as it was seen.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { newId } from '../../src/main/ids.ts';
import type { Job } from '../../src/protocol/job.ts';
import { enforceBudgets } from '../../src/scheduler/budget.ts';
import { aJob, aNode } from '../support/builders.ts';
import { exited, type PlacedRun, place, preparing, released, report, running } from '../support/runs.ts';
import { eventually, setSqlClock, startTestServer } from '../support/server.ts';

const server = await startTestServer({ hasScheduler: false });
const { admin, database } = server;
const node = await aNode(server);
const hints = { publish: () => {}, subscribe: () => () => {}, close: async () => {} };
const look = () => enforceBudgets({ database, hints }, { kind: 'scheduler' });
const minute = 60_000;
let clockMs = 0;

/** The database's clock goes on by so much. */
async function pass(ms: number): Promise<void> {
  clockMs += ms;
  await setSqlClock(server, clockMs);
}

async function runningJob(
  fields: Record<string, unknown>,
  rateMicros = 0,
): Promise<{ job: Job; run: PlacedRun }> {
  const job = await admin.createJob(
    aJob({ task: 'PERSISTENT', max_timeout_run_ms: null, max_timeout_start_ms: 86_400_000, ...fields }),
  );
  const run = await place(server, job.uuid, node.id);
  await database.query('update job_runs set hourly_rate_micros = $2 where id = $1', [run.id, rateMicros]);
  await report(server, run, preparing);
  await report(server, run, running);
  return { job, run };
}

const warnings = (jobId: string) =>
  database.query<{ text: string; limit: string }>(
    `select detail ->> 'text' as text, detail ->> 'limit' as limit from job_events
     where job_id = $1 and kind = 'budget_warning' order by id`,
    [jobId],
  );

test('a job shows its budget, and a limit that means nothing is refused', async () => {
  const limits = { max_cost_usd: 5, renew_within_ms: 600_000, idle_timeout_ms: 900_000 };
  const job = await admin.createJob(aJob(limits));
  assert.deepEqual(
    [job.max_cost_usd, job.renew_within_ms, job.renew_by, job.idle_timeout_ms],
    [5, 600_000, null, 900_000],
  );
  const { max_cost_usd: cost, idle_timeout_ms: idle } = await admin.getJob(job.uuid);
  assert.deepEqual([cost, idle], [5, 900_000]);
  const wrong = aJob({ max_cost_usd: 0, renew_within_ms: 59_999, idle_timeout_ms: -1 });
  const issues = await admin.issues('POST', '/v1/jobs', { body: wrong });
  assert.deepEqual([...issues.keys()].sort(), ['idle_timeout_ms', 'max_cost_usd', 'renew_within_ms']);
  await admin.stopJob(job.uuid);
});

test('a job is warned of its cost and stopped before it costs more, also over several runs', async () => {
  const { job, run } = await runningJob({ max_cost_usd: 5, max_retry_count: 1 }, 3_600_000);
  await pass(50 * minute);
  await look();
  assert.deepEqual(await warnings(job.uuid), []);
  await report(server, run, exited(1));
  await report(server, run, released);
  const second = await place(server, job.uuid, node.id);
  await database.query('update job_runs set hourly_rate_micros = 3600000 where id = $1', [second.id]);
  await report(server, second, running);
  await pass(20 * minute);
  await look();
  await look();
  const told = [{ text: 'budget: max_cost_usd 5.00 is 80 % used', limit: 'max_cost_usd' }];
  assert.deepEqual(await warnings(job.uuid), told);
  assert.equal((await admin.getJob(job.uuid)).status, 'RUNNING');
  // 13 minutes more are 4.98 dollars in all: with the grace of ten seconds nothing is left but ten.
  await pass(13 * minute);
  await look();
  assert.equal((await admin.getJob(job.uuid)).status, 'RUNNING');
  await pass(11_000);
  await look();
  const stopped = await admin.getJob(job.uuid);
  assert.deepEqual(
    [stopped.status, stopped.status_reason],
    ['CANCELLED', 'budget: max_cost_usd 5.00 reached'],
  );
  assert.equal(stopped.status_detail?.code, 'budget');
  assert.equal(stopped.teardown?.state, 'requested');
  // Its node is slow: what is billed ends with the grace.
  await pass(60 * minute);
  await report(server, second, exited(137));
  const [cost] = await database.query<{ micros: number }>(
    `select sum(flotilla_cost_micros(hourly_rate_micros, flotilla_billed_ms(r, flotilla_now())))::bigint as micros
     from job_runs r where job_id = $1`,
    [job.uuid],
  );
  const perTickMicros = 3_600_000 / 3_600;
  assert.ok((cost?.micros ?? 0) <= 5_000_000 + 5 * perTickMicros, `${cost?.micros} micro-dollars`);
});

test('a job is stopped when nobody renews it, and goes on when somebody does', async () => {
  const { job } = await runningJob({ renew_within_ms: 600_000 });
  await pass(9 * minute);
  await look();
  assert.deepEqual(
    (await warnings(job.uuid)).map(({ limit }) => limit),
    ['renew_within_ms'],
  );
  const renewed = await admin.ask<Job>('POST', `/v1/jobs/${job.uuid}/renew`);
  assert.ok(renewed.renew_by !== null);
  await pass(2 * minute);
  await look();
  assert.equal((await admin.getJob(job.uuid)).status, 'RUNNING');
  await pass(7 * minute);
  await look();
  assert.equal((await warnings(job.uuid)).length, 2);
  await pass(2 * minute);
  await look();
  const stopped = await admin.getJob(job.uuid);
  assert.deepEqual(
    [stopped.status, stopped.status_reason, stopped.renew_by],
    ['CANCELLED', 'budget: renew_within_ms 600000 reached', null],
  );
  assert.equal((await admin.refusal('POST', `/v1/jobs/${job.uuid}/renew`)).status, 409);
});

test('what need not or cannot be renewed says so, and waiting for a node costs no time', async () => {
  const plain = await admin.createJob(aJob());
  assert.match((await admin.refusal('POST', `/v1/jobs/${plain.uuid}/renew`)).message, /no renew_within_ms/);
  assert.equal((await admin.refusal('POST', `/v1/jobs/${newId()}/renew`)).status, 404);
  const waiting = await admin.createJob(aJob({ renew_within_ms: 60_000, idle_timeout_ms: 60_000 }));
  await pass(3 * minute);
  await look();
  assert.equal((await admin.getJob(waiting.uuid)).status, 'PENDING');
});

test('a job is idle only while samples follow each other and show no use of CPU, GPU or network', async () => {
  const { job, run } = await runningJob({ idle_timeout_ms: 600_000 });
  const sample = async (use: { cpu?: number; gpu?: number; bytes?: number } = {}) => {
    await pass(30_000);
    await database.query(
      `insert into run_samples (slot, run_id, at, span_ms, cpu_cores, gpu_utilisation, network_rx_bytes, network_tx_bytes)
       values (flotilla_sample_slot(flotilla_now()), $1, flotilla_now(), 30000, $2, $3, $4, 0)`,
      [run.id, use.cpu ?? 0.01, use.gpu ?? 0, use.bytes ?? 1_000],
    );
    await look();
  };
  const times = async (count: number, use = {}) => {
    for (let index = 0; index < count; index += 1) await sample(use);
  };
  const status = async () => (await admin.getJob(job.uuid)).status;
  for (const use of [{ cpu: 0.5 }, { gpu: 0.5 }, { bytes: 1e6 }]) {
    await times(17);
    await sample(use);
    assert.equal(await status(), 'RUNNING', JSON.stringify(use));
  }
  assert.equal((await warnings(job.uuid)).length, 3);
  await times(15);
  // What nobody saw for a while may have been use.
  await pass(20 * minute);
  await look();
  await times(15);
  assert.equal(await status(), 'RUNNING');
  await times(7);
  const stopped = await admin.getJob(job.uuid);
  assert.deepEqual(
    [stopped.status, stopped.status_reason],
    ['CANCELLED', 'budget: idle_timeout_ms 600000 reached'],
  );
});

test('the leader looks by itself', async () => {
  const led = await startTestServer();
  const [own, rates] = [await aNode(led), { unpriced_gpu_usd: 0, cpu_usd: 1000, ram_gb_usd: 0 }];
  await led.admin.ask('PUT', '/v1/compute/rates', { body: rates });
  await new Promise((resolve) => setTimeout(resolve, 2_200));
  const job = await led.admin.createJob(aJob({ cpu_count: 1, max_cost_usd: 0.01 }));
  const run = await eventually(
    'it is placed',
    async () => (await led.admin.listRuns({ 'filter[job_uuid]': job.uuid })).data[0],
  );
  await report(led, { id: run.uuid, nodeId: own.id, attempt: 1 }, running);
  const stopped = await eventually('it is stopped', async () => {
    const found = await led.admin.getJob(job.uuid);
    return found.status === 'CANCELLED' && found;
  });
  assert.equal(stopped.status_reason, 'budget: max_cost_usd 0.01 reached');
  await led.stop();
});

test('a recipe’s job gets the budget of its payload, and cook’s own', async () => {
  const payload = aJob({ max_cost_usd: 2, idle_timeout_ms: 600_000 });
  const recipe = await admin.ask<{ uuid: string }>('POST', '/v1/job-recipes', {
    body: { name: 'frugal', payload },
  });
  const path = `/v1/job-recipes/${recipe.uuid}/cook`;
  const plain = await admin.ask<Job>('POST', path, { body: {} });
  const own = await admin.ask<Job>('POST', path, { body: { max_cost_usd: 1, renew_within_ms: 60_000 } });
  const limits = ({ max_cost_usd, renew_within_ms, idle_timeout_ms }: Job) => [
    ...[max_cost_usd, renew_within_ms, idle_timeout_ms],
  ];
  assert.deepEqual([plain, own].map(limits), [
    [2, null, 600_000],
    [1, 60_000, 600_000],
  ]);
});
