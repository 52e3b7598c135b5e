// Weeks of nodes: hours from spans and runs, counted once, equal to a plain count, split at Sunday midnight, and then final.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { computeEpochs, openEpochs } from '../../src/db/epochs.ts';
import { epochMs, epochStart } from '../../src/domain/epoch.ts';
import { newId } from '../../src/main/ids.ts';
import type { NodeEpoch } from '../../src/protocol/epoch.ts';
import type { ListEnvelope } from '../../src/protocol/list.ts';
import { aJob, aNode } from '../support/builders.ts';
import { exited, place, preparing, released, report, running } from '../support/runs.ts';
import { eventually, startTestServer } from '../support/server.ts';

const server = await startTestServer({ hasScheduler: false });
const { admin, database } = server;
const hourMs = 3_600_000;
const sundayMs = epochStart(Date.now()) - 2 * epochMs;

await database.query('create table test_clock (at timestamptz not null)');
await database.query('insert into test_clock values (now())');
await setClock(sundayMs);
await database.query(`create or replace function flotilla_now() returns timestamptz
  language sql stable parallel safe as 'select at from test_clock'`);

function setClock(atMs: number) {
  return database.query('update test_clock set at = to_timestamp($1::float8 / 1000)', [atMs]);
}

async function compute(): Promise<void> {
  await openEpochs(database);
  while ((await computeEpochs(database, { limit: 10, everyMs: 1 })) > 0);
}

const epochs = async (nodeId: string, query = '') =>
  (await admin.ask<ListEnvelope<NodeEpoch>>('GET', `/v1/nodes/${nodeId}/epochs${query}`)).data;

const told = ({
  status,
  hours_available: a,
  hours_prepared: p,
  hours_worked: w,
  earnings_usd: usd,
}: NodeEpoch) => [...[status, a, p, w, usd]];

test('hours are split at Sunday midnight, earn by the rates, and are final an hour after the week', async () => {
  const rates = { node_available_usd: 0.01, node_prepared_usd: 0.1, node_worked_usd: 1 };
  await admin.ask('PUT', '/v1/compute/billing', { body: rates });
  const node = await aNode(server);
  await setClock(sundayMs + 10 * hourMs);
  await admin.ask('PUT', `/v1/nodes/${node.id}/cordon`, { body: { reason: 'repair' } });
  await setClock(sundayMs + 20 * hourMs);
  await admin.ask('PUT', `/v1/nodes/${node.id}/uncordon`, { body: {} });
  await setClock(sundayMs + 160 * hourMs);
  const jobs = [];
  for (let index = 0; index < 2; index += 1) jobs.push(await admin.createJob(aJob()));
  const runs = [];
  for (const { uuid } of jobs) runs.push(await place(server, uuid, node.id));
  await setClock(sundayMs + 161 * hourMs);
  for (const run of runs) {
    await report(server, run, preparing);
    await report(server, run, running);
  }
  await compute();
  // Two runs at once are one hour of preparation.
  assert.deepEqual((await epochs(node.id)).map(told), [['ACTIVE', 151, 1, 0, 1.61]]);
  await setClock(sundayMs + 178 * hourMs);
  for (const run of runs) {
    await report(server, run, exited(0));
    await report(server, run, released);
  }
  await compute();
  const [second, first] = (await epochs(node.id)).map(told);
  assert.deepEqual(first, ['FINALIZED', 158, 1, 7, 8.68]);
  assert.deepEqual(second, ['ACTIVE', 10, 0, 10, 10.1]);
  assert.equal((await epochs(node.id, '?filter[status]=FINALIZED')).length, 1);

  await admin.ask('PUT', '/v1/compute/billing', { body: { node_worked_usd: 2 } });
  await setClock(sundayMs + 179 * hourMs);
  await compute();
  const [after, same] = (await epochs(node.id)).map(told);
  assert.deepEqual([after, same], [['ACTIVE', 11, 0, 10, 20.11], first]);
  await assert.rejects(database.query('update node_epochs set earned_micros = 0'), /is final/);
  await assert.rejects(database.query('delete from node_epochs where finalized_at is not null'), /is final/);
});

test('a week that is over waits an hour for late reports', async () => {
  const node = await aNode(server);
  await setClock(sundayMs + 2 * epochMs + hourMs / 2);
  await compute();
  const status = async () => (await epochs(node.id)).map((epoch) => epoch.status);
  assert.deepEqual(await status(), ['ACTIVE', 'FINALIZING']);
  assert.equal((await epochs(node.id, '?filter[status]=FINALIZING')).length, 1);
  await setClock(sundayMs + 2 * epochMs + hourMs);
  await compute();
  assert.deepEqual(await status(), ['ACTIVE', 'FINALIZED']);
});

test('random spans and runs give what a plain count by the minute gives', async () => {
  let state = 5;
  const whole = (max: number) => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    return Math.floor((state / 2_147_483_648) * max);
  };
  const minutes = (epochMs / 60_000) * 2;
  const fromMs = sundayMs - epochMs / 2;
  for (let round = 0; round < 5; round += 1) {
    const node = await aNode(server);
    const runs = Array.from({ length: 40 }, () => {
      const placed = whole(minutes);
      const started = whole(5) === 0 ? null : placed + whole(300);
      const ended = whole(40) === 0 ? null : (started ?? placed) + whole(1_000);
      return { id: newId(), placed, started, ended };
    });
    const at = (column: string) => `to_timestamp($2::float8 / 1000) + ${column} * interval '1 minute'`;
    await database.query(
      `insert into jobs (id, account_id, created_at, updated_at, status, task, title, min_ram_gb, min_storage_gb, min_vram_gb,
         allowed_region_codes, container, max_timeout_assign_ms, max_timeout_start_ms, max_retry_count, max_node_count, labels, priority)
       select i.id, $2, now(), now(), 'COMPLETED', 'BATCH', 'past', 0, 0, 0, '{}', '{}', 1, 1, 0, 1, '{}', 0
       from json_to_recordset($1::json) as i(id uuid)`,
      [JSON.stringify(runs), server.storage.account.id],
    );
    await database.query(
      `insert into job_runs (id, job_id, account_id, node_id, attempt, created_at, updated_at, status, cpu_count, ram_bytes,
         storage_bytes, gpu_uuids, start_deadline_at, started_at, ended_at)
       select i.id, i.id, $4, $3, 1, ${at('i.placed')}, now(), case when i.ended is null then 'RUNNING' else 'COMPLETED' end,
         1, 1, 1, '{}', now(), ${at('i.started')}, ${at('i.ended')}
       from json_to_recordset($1::json) as i(id uuid, placed integer, started integer, ended integer)`,
      [JSON.stringify(runs), fromMs, node.id, server.storage.account.id],
    );
    const [hours] = await database.query<{ prepared_ms: number; worked_ms: number }>(
      `select * from flotilla_node_hours($1, to_timestamp($2::float8 / 1000), to_timestamp($2::float8 / 1000) + interval '168 hours')`,
      [node.id, sundayMs],
    );
    const count = (covers: (run: (typeof runs)[number], minute: number) => boolean) => {
      const first = (sundayMs - fromMs) / 60_000;
      const all = Array.from({ length: epochMs / 60_000 }, (_, index) => first + index);
      return all.filter((minute) => runs.some((run) => covers(run, minute))).length * 60_000;
    };
    const forever = Number.POSITIVE_INFINITY;
    assert.deepEqual(
      [hours?.prepared_ms, hours?.worked_ms],
      [
        count(({ placed, started, ended }, it) => placed <= it && it < (started ?? ended ?? forever)),
        count(({ started, ended }, it) => started !== null && started <= it && it < (ended ?? forever)),
      ],
    );
  }
});

test('the leader keeps the books by itself', async () => {
  const led = await startTestServer();
  const node = await aNode(led);
  const found = await eventually(
    'a row',
    async () => {
      const { data } = await led.admin.ask<ListEnvelope<NodeEpoch>>('GET', `/v1/nodes/${node.id}/epochs`);
      return data[0];
    },
    90_000,
  );
  assert.equal(found.status, 'ACTIVE');
  assert.equal(Date.parse(found.starts_at), epochStart(Date.now()));
  await led.stop();
});
