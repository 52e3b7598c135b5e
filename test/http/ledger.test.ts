// The ledger on real SQL: billed from container start to observed end, balanced, append-only, and equal to its recomputation.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { billRuns } from '../../src/db/ledger.ts';
import { billedMs } from '../../src/domain/ledger.ts';
import { newId } from '../../src/main/ids.ts';
import type { Balance, LedgerTransaction, LedgerVerification } from '../../src/protocol/ledger.ts';
import type { ListEnvelope } from '../../src/protocol/list.ts';
import { aJob, aNode } from '../support/builders.ts';
import { place } from '../support/runs.ts';
import { startTestServer } from '../support/server.ts';

const server = await startTestServer({ hasScheduler: false });
const { admin, database, storage } = server;
const accountId = storage.account.id;
const actor = { kind: 'test' };
const bill = (everyMs = 3_600_000) => billRuns(database, { limit: 100_000, everyMs, actor });
const balance = () => admin.ask<Balance>('GET', `/v1/accounts/${accountId}/balance`);
const verification = () => admin.ask<LedgerVerification>('GET', '/v1/compute/ledger/verification');
const transactions = (query = '') =>
  admin.ask<ListEnvelope<LedgerTransaction>>('GET', `/v1/compute/ledger/transactions${query}`);

interface PastRun {
  startedAgoMs: number;
  /** null: it runs still. */
  endedAgoMs: number | null;
  stopAgoMs?: number | null;
  graceMs?: number;
  rateMicros: number;
}

/** Runs of the past, straight in the table: what billing rests on is in their rows alone. */
async function insertRuns(runs: readonly PastRun[], owner = accountId): Promise<string[]> {
  const rows = runs.map((run) => ({ id: newId(), job_id: newId(), stopAgoMs: null, graceMs: 0, ...run }));
  await database.query(
    `with input as (select * from json_to_recordset($1::json) as i(id uuid, job_id uuid, "startedAgoMs" float8,
         "endedAgoMs" float8, "stopAgoMs" float8, "graceMs" integer, "rateMicros" bigint)),
       jobs_made as (
         insert into jobs (id, account_id, created_at, updated_at, status, task, title, min_ram_gb, min_storage_gb, min_vram_gb,
           allowed_region_codes, container, max_timeout_assign_ms, max_timeout_start_ms, max_retry_count, max_node_count, labels, priority)
         select job_id, $2, now(), now(), 'COMPLETED', 'BATCH', 'past', 0, 0, 0, '{}', '{}', 1, 1, 0, 1, '{}', 0 from input)
     insert into job_runs (id, job_id, account_id, node_id, attempt, created_at, updated_at, status, cpu_count, ram_bytes,
       storage_bytes, gpu_uuids, start_deadline_at, started_at, ended_at, teardown_requested_at, stop_grace_ms, hourly_rate_micros)
     select id, job_id, $2, id, 1, now(), now(), case when "endedAgoMs" is null then 'RUNNING' else 'COMPLETED' end, 1, 1, 1, '{}',
       now(), now() - "startedAgoMs" * interval '1 ms', now() - "endedAgoMs" * interval '1 ms',
       now() - "stopAgoMs" * interval '1 ms', "graceMs", "rateMicros" from input`,
    [JSON.stringify(rows), owner],
  );
  return rows.map(({ id }) => id);
}

test('credits are given and taken back by the cluster’s admin, and nobody else', async () => {
  const path = `/v1/accounts/${accountId}/credits`;
  const given = await admin.ask<LedgerTransaction>('POST', path, { body: { amount_usd: 25.5 } });
  assert.deepEqual([given.kind, given.amount_usd, given.balance_usd], ['credit', 25.5, 25.5]);
  const taken = await admin.ask<LedgerTransaction>('POST', path, { body: { amount_usd: -0.5 } });
  assert.equal(taken.balance_usd, 25);
  assert.equal((await balance()).available_balance, 25);
  const other = server.client(await server.createKey({ preset: 'admin' }));
  assert.equal((await other.refusal('POST', path, { body: { amount_usd: 1 } })).code, 'permission_denied');
  for (const amount_usd of [0, 0.1234567, 1e-7])
    assert.equal((await admin.refusal('POST', path, { body: { amount_usd } })).code, 'validation_failed');
  assert.equal(
    (await admin.refusal('POST', `/v1/accounts/${newId()}/credits`, { body: { amount_usd: 1 } })).status,
    404,
  );
});

test('a run is billed from its container’s start to its observed end, and after a stop no longer than its grace', async () => {
  const before = (await balance()).balance_usd;
  const hour = 3_600_000;
  await insertRuns([
    { startedAgoMs: 2 * hour, endedAgoMs: hour, rateMicros: 690_000 },
    { startedAgoMs: 2 * hour, endedAgoMs: 0, stopAgoMs: 1.5 * hour, graceMs: 10_000, rateMicros: 3_600_000 },
    { startedAgoMs: hour, endedAgoMs: 0, rateMicros: 0 },
  ]);
  await bill();
  const { data } = await transactions('?filter[kind]=usage');
  const amounts = data.map(({ amount_usd: amount, billed_ms: ms }) => [amount, ms]);
  assert.deepEqual(amounts.sort(), [
    [-0.69, hour],
    [-1.81, hour / 2 + 10_000],
  ]);
  assert.equal((await balance()).balance_usd, Math.round((before - 2.5) * 1e6) / 1e6);
  await bill();
  assert.equal((await transactions('?filter[kind]=usage')).total, 2);
});

test('a run that goes on is billed by the hour, and what it cost since is accrued', async () => {
  const [run = ''] = await insertRuns([{ startedAgoMs: 5_400_000, endedAgoMs: null, rateMicros: 1_000_000 }]);
  const accrued = (await balance()).accrued_usd;
  assert.ok(accrued >= 1.5 && accrued < 1.6, `${accrued} accrued`);
  await bill();
  await bill();
  assert.equal((await transactions(`?filter[job_run_uuid]=${run}`)).total, 1);
  assert.ok((await balance()).accrued_usd < 0.1);
  await database.query(`update job_runs set status = 'COMPLETED', ended_at = now() where id = $1`, [run]);
  await bill();
  const { data } = await transactions(`?filter[job_run_uuid]=${run}`);
  const total = data.reduce((sum, { amount_usd: amount }) => sum + amount, 0);
  assert.ok(Math.abs(total + 1.5) < 0.1, `${total} in all`);
  assert.equal((await verification()).is_right, true);
});

test('nobody changes what was written, and what does not balance is not written', async () => {
  await assert.rejects(database.query('update ledger_transactions set amount_micros = 0'), /append-only/);
  await assert.rejects(database.query('delete from ledger_entries'), /append-only/);
  const [transaction] = (await transactions()).data;
  await assert.rejects(
    database.query(`insert into ledger_entries values ($1, 'granted', 5) on conflict do nothing`, [newId()]),
  );
  await assert.rejects(
    database.query(
      `insert into ledger_entries select $1, book, 1 from (values ('earned'), ('granted')) v(book) on conflict do nothing`,
      [transaction?.uuid],
    ),
    /do not balance/,
  );
});

function toBilled(run: PastRun) {
  const us = (agoMs: number | null | undefined) =>
    agoMs === null || agoMs === undefined ? null : -agoMs * 1000;
  return {
    startedAtUs: us(run.startedAgoMs),
    endedAtUs: us(run.endedAgoMs),
    stopRequestedAtUs: us(run.stopAgoMs),
    stopGraceMs: run.graceMs ?? 0,
    rateMicros: run.rateMicros,
  };
}

test('a wrong posting is found', async () => {
  const [run = ''] = await insertRuns([{ startedAgoMs: 7_200_000, endedAgoMs: 0, rateMicros: 1_000_000 }]);
  await bill();
  await database.query(`update job_runs set ended_at = ended_at - interval '1 hour' where id = $1`, [run]);
  const checked = await verification();
  assert.equal(checked.is_right, false);
  assert.deepEqual(
    checked.wrong_runs.map(({ job_run_uuid: uuid }) => uuid),
    [run],
  );
  assert.equal(billedMs(toBilled({ startedAgoMs: 10, endedAgoMs: 4, rateMicros: 1 }), 0), 6);
});

test('the node’s runs of a job are billed by the reports of its agent', async () => {
  const node = await aNode(server, { gpus: [{ name: 'NVIDIA GeForce RTX 5090', vramMib: 32_607 }] });
  const job = await admin.createJob(aJob());
  const run = await place(server, job.uuid, node.id);
  assert.equal(
    (await admin.ask<{ hourly_rate_usd: number }>('GET', `/v1/job-runs/${run.id}`)).hourly_rate_usd,
    0,
  );
});

test('a balance that JSON could not tell exactly is refused, and nothing is posted', async () => {
  const owner = await server.createAccount('rich');
  const path = `/v1/accounts/${owner}/credits`;
  for (let count = 0; count < 4; count += 1) await admin.ask('POST', path, { body: { amount_usd: 1e9 } });
  const refusal = await admin.refusal('POST', path, { body: { amount_usd: 1 } });
  assert.equal(refusal.code, 'validation_failed');
  const balance = await admin.ask<{ available_balance: number }>('GET', `/v1/accounts/${owner}/balance`);
  assert.equal(balance.available_balance, 4e9);
});
