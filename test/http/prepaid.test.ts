// Prepaid accounts: refused before the start, warned when credit runs low, stopped at zero, and never kept from stopping.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { newId } from '../../src/main/ids.ts';
import type { BillingSettings } from '../../src/protocol/billing.ts';
import type { Job } from '../../src/protocol/job.ts';
import type { Balance } from '../../src/protocol/ledger.ts';
import { CreditWatch } from '../../src/scheduler/credit.ts';
import { aJob, aNode } from '../support/builders.ts';
import { exited, place, report, running } from '../support/runs.ts';
import { eventually, setSqlClock, startTestServer } from '../support/server.ts';

const server = await startTestServer({ hasScheduler: false });
const { admin, database } = server;
const accountId = await server.createAccount('payer');
const payer = server.client(await server.createKey({ accountId, preset: 'consumer' }));
const node = await aNode(server);
const hints = { publish: () => {}, subscribe: () => () => {}, close: async () => {} };
const watch = new CreditWatch({ database, hints }, { kind: 'scheduler' });
const path = `/v1/accounts/${accountId}`;
const credit = (amount: number) => admin.ask('POST', `${path}/credits`, { body: { amount_usd: amount } });
const prepaid = (value: boolean | null) =>
  admin.ask<Balance>('PUT', `${path}/prepaid`, { body: { prepaid: value } });
const balance = () => payer.ask<Balance>('GET', `${path}/balance`);
/** Another replica knows of a change within two seconds. */
const untilKnown = () => new Promise((resolve) => setTimeout(resolve, 2_100));

async function costingJob(rateMicros: number): Promise<Job> {
  const job = await payer.createJob(aJob({ max_timeout_run_ms: 86_400_000 }));
  const run = await place(server, job.uuid, node.id);
  await database.query('update job_runs set hourly_rate_micros = $2 where id = $1', [run.id, rateMicros]);
  await report(server, run, running);
  return job;
}

test('the admin of the cluster says who pays in advance, for all accounts and for one', async () => {
  assert.equal((await balance()).prepaid, false);
  await payer.createJob(aJob());
  const settings = await admin.ask<BillingSettings>('PUT', '/v1/compute/billing', {
    body: { prepaid: true },
  });
  assert.deepEqual([settings.prepaid, settings.node_worked_usd], [true, 0]);
  assert.equal((await balance()).prepaid, true);
  assert.equal((await prepaid(false)).prepaid, false);
  assert.equal((await prepaid(null)).prepaid, true);
  await admin.ask('PUT', '/v1/compute/billing', { body: { prepaid: false } });
  assert.equal((await balance()).prepaid, false);
  assert.equal((await payer.refusal('PUT', `${path}/prepaid`, { body: { prepaid: false } })).status, 403);
  assert.equal((await payer.refusal('PUT', '/v1/compute/billing', { body: {} })).status, 403);
  const nobody = await admin.refusal('PUT', `/v1/accounts/${newId()}/prepaid`, { body: { prepaid: true } });
  assert.equal(nobody.status, 404);
});

test('without credit nothing is created, what was accepted is answered again, and a stop is never refused', async () => {
  const key = { 'Idempotency-Key': newId() };
  const before = await payer.createJob(aJob(), key);
  await prepaid(true);
  await untilKnown();
  const refusal = await payer.refusal('POST', '/v1/jobs', { body: aJob() });
  assert.deepEqual([refusal.status, refusal.code], [402, 'insufficient_credit']);
  assert.equal((await payer.createJob(aJob(), key)).uuid, before.uuid);
  assert.equal((await payer.stopJob(before.uuid)).status, 'CANCELLED');
  await credit(1);
  const created = await payer.createJob(aJob());
  await payer.stopJob(created.uuid);
});

test('a job that would be placed without credit is stopped before it starts', async () => {
  const job = await payer.createJob(aJob());
  assert.deepEqual(await watch.refuseUnpaid([job.uuid]), new Set());
  await credit(-1);
  assert.deepEqual(await watch.refuseUnpaid([job.uuid]), new Set([job.uuid]));
  const stopped = await payer.getJob(job.uuid);
  assert.deepEqual([stopped.status, stopped.status_detail?.code], ['CANCELLED', 'insufficient_credit']);
});

test('an account is warned once when its credit lasts less than an hour, and what costs is stopped at zero', async () => {
  const warnings = async () =>
    (
      await database.query<{ left: number }>(
        `select (detail ->> 'hours_left')::float8 as left from job_events where account_id = $1 and kind = 'low_credit'`,
        [accountId],
      )
    ).map(({ left }) => left);
  await credit(2);
  const job = await costingJob(1_000_000);
  const free = await costingJob(0);
  await watch.review();
  assert.deepEqual(await warnings(), []);
  await setSqlClock(server, 90 * 60_000);
  await watch.review();
  await watch.review();
  const [left = 0] = await warnings();
  assert.ok((await warnings()).length === 1 && left > 0.4 && left < 0.6, `${left} hours`);
  assert.ok(Math.abs(((await balance()).hours_left ?? 0) - 0.5) < 0.1);
  await credit(2);
  await watch.review();
  await credit(-2);
  await watch.review();
  assert.equal((await warnings()).length, 2);
  await setSqlClock(server, 119 * 60_000);
  await watch.review();
  assert.equal((await payer.getJob(job.uuid)).status, 'RUNNING');
  await setSqlClock(server, 120 * 60_000 - 9_900);
  await watch.review();
  const stopped = await payer.getJob(job.uuid);
  assert.deepEqual([stopped.status, stopped.status_detail?.code], ['CANCELLED', 'insufficient_credit']);
  assert.equal((await payer.getJob(free.uuid)).status, 'RUNNING');
  await setSqlClock(server, 180 * 60_000);
  const [run] = (await payer.listRuns({ 'filter[job_uuid]': job.uuid })).data;
  await report(server, { id: run?.uuid ?? '', nodeId: node.id, attempt: 1 }, exited(143));
  // The grace was kept back: nobody owes more than the second between two looks.
  const rest = (await balance()).available_balance;
  assert.ok(rest >= -1 / 3_600 && rest < 0.01, `${rest} USD`);
  await setSqlClock(server, 0);
});

test('the leader watches by itself', async () => {
  const led = await startTestServer();
  const account = `/v1/accounts/${led.storage.account.id}`;
  const own = await aNode(led);
  await led.admin.ask('PUT', '/v1/compute/rates', {
    body: { unpriced_gpu_usd: 0, cpu_usd: 1000, ram_gb_usd: 0 },
  });
  await led.admin.ask('POST', `${account}/credits`, { body: { amount_usd: 3.5 } });
  await led.admin.ask('PUT', `${account}/prepaid`, { body: { prepaid: true } });
  await untilKnown();
  const job = await led.admin.createJob(aJob({ cpu_count: 1 }));
  const run = await eventually('it is placed', async () => (await led.admin.listRuns()).data[0]);
  await report(led, { id: run.uuid, nodeId: own.id, attempt: 1 }, running);
  await eventually('it is stopped', async () => {
    const { status, status_detail: detail } = await led.admin.getJob(job.uuid);
    return status === 'CANCELLED' && detail?.code === 'insufficient_credit';
  });
  const waiting = await led.admin.createJob(aJob({ cpu_count: 64 }));
  await led.admin.ask('POST', `${account}/credits`, { body: { amount_usd: -3.5 } });
  await aNode(led, { cpus: 64 });
  await eventually(
    'it is not placed',
    async () => (await led.admin.getJob(waiting.uuid)).status === 'CANCELLED',
  );
  assert.equal((await led.admin.listRuns({ 'filter[job_uuid]': waiting.uuid })).total, 0);
  const late = await led.admin.refusal('POST', '/v1/jobs', { body: aJob({ cpu_count: 1 }) });
  assert.equal(late.status, 402);
  await led.stop();
});
