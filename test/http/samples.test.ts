// Samples that agents send: stored for runs and nodes, averaged after five minutes, shown by the API.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { defaultRetention, enforceRetention } from '../../src/db/retention.ts';
import { newId } from '../../src/main/ids.ts';
import type { NodeLoad, RunUsage, Usage } from '../../src/protocol/hardware.ts';
import type { StatsPoint } from '../../src/protocol/stats.ts';
import { createHandNodes, type HandNode, runsNow } from '../support/hand-nodes.ts';
import { eventually, setSqlClock, startTestServer } from '../support/server.ts';

const server = await startTestServer();
const { database } = server;
const nodes = createHandNodes(server);
after(() => nodes.close());

const megabyte = 1_000_000;
const usage: Usage = {
  ...{ cpu_cores: 1.5, memory_bytes: 300 * megabyte, gpu_utilisation: null, gpu_memory_bytes: null },
  ...{ network_rx_bytes: 1_000, network_tx_bytes: 500, disk_read_bytes: 0, disk_written_bytes: 4_096 },
};
const load: NodeLoad = {
  ...{ ...usage, core_loads: [0.5, 1], gpus: [] },
  ...{ memory_free_bytes: 700 * megabyte, memory_total_bytes: 1_000 * megabyte },
  ...{ storage_free_bytes: 60_000 * megabyte, storage_total_bytes: 100_000 * megabyte },
};

async function aRunningRun(node: HandNode): Promise<string> {
  const { order } = await nodes.place(node);
  await node.agent.report(order, runsNow);
  return order.run_uuid;
}

function sample(node: HandNode, runs: RunUsage[]): void {
  node.agent.send({ type: 'sample', span_ms: 10_000, node: load, runs });
}

async function samplesOf(runId: string) {
  return database.query<{ cpu_cores: number; network_bytes: number }>(
    'select cpu_cores, network_bytes from run_samples where run_id = $1 order by at',
    [runId],
  );
}

test('the welcome says how often to send samples, and they are stored', async () => {
  const node = await nodes.connect();
  const welcome = node.agent.received.find((message) => message.type === 'welcome');
  assert.equal(welcome?.sample_ms, 10_000);
  const runId = await aRunningRun(node);
  sample(node, [{ run_uuid: runId, ...usage }]);
  const [stored] = await eventually('a sample', async () => {
    const rows = await samplesOf(runId);
    return rows.length > 0 && rows;
  });
  assert.deepEqual(stored, { cpu_cores: 1.5, network_bytes: 1_500 });
});

test("a node's sample of another node's run, or of none, is not stored", async () => {
  const [own, other] = [await nodes.connect(), await nodes.connect()];
  const [ownRun, otherRun] = [await aRunningRun(own), await aRunningRun(other)];
  const stranger = newId();
  sample(
    own,
    [otherRun, stranger, ownRun].map((run_uuid) => ({ run_uuid, ...usage })),
  );
  await eventually('its own', async () => (await samplesOf(ownRun)).length === 1);
  assert.deepEqual([...(await samplesOf(otherRun)), ...(await samplesOf(stranger))], []);
});

test('what no machine has is refused, and harms no sample of another node', async () => {
  const [strange, other] = [await nodes.connect(), await nodes.connect()];
  const runId = await aRunningRun(other);
  sample(other, [
    { run_uuid: runId, ...usage },
    { run_uuid: runId, ...usage },
  ]);
  const wrong = { ...load, gpus: [{ uuid: 'GPU-\0', utilisation: 0, memory_used_bytes: 1 }] };
  strange.agent.send({ type: 'sample', span_ms: 10_000, node: wrong, runs: [] });
  assert.equal((await strange.agent.next('refused')).code, 'malformed_message');
  await eventually('the one of the other', async () => (await samplesOf(runId)).length > 0);
  assert.equal((await samplesOf(runId)).length, 1);
});

test('a node that sends without end is heard once a second', async () => {
  const node = await nodes.connect();
  const runId = await aRunningRun(node);
  for (let count = 0; count < 500; count += 1) sample(node, [{ run_uuid: runId, ...usage }]);
  await eventually('some', async () => (await samplesOf(runId)).length > 0);
  assert.ok((await samplesOf(runId)).length < 5);
});

test('five minutes are averaged once, also after their samples are gone', async () => {
  const node = await nodes.connect();
  const runId = await aRunningRun(node);
  sample(node, [{ run_uuid: runId, ...usage }]);
  await eventually('one', async () => (await samplesOf(runId)).length === 1);
  sample(node, [{ run_uuid: runId, ...usage, cpu_cores: 0.5 }]);
  await eventually('two', async () => (await samplesOf(runId)).length === 2);
  try {
    await setSqlClock({ database }, 11 * 60_000);
    await enforceRetention(database, defaultRetention);
    await enforceRetention(database, defaultRetention);
    // Two hours later the slots have been round the ring.
    for (let minutes = 15; minutes <= 120; minutes += 5) {
      await setSqlClock({ database }, minutes * 60_000);
      await enforceRetention(database, defaultRetention);
    }
    assert.deepEqual(await samplesOf(runId), []);
    const averages = await database.query<Record<string, number>>(
      `select sum(sample_count) as samples, sum(cpu_cores * sample_count) as cpu, max(cpu_cores_max) as most,
         sum(network_rx_bytes) as rx, sum(span_ms) as span from run_sample_averages where run_id = $1`,
      [runId],
    );
    assert.deepEqual(
      averages.map((row) => Object.values(row).map(Number)),
      [[2, 2, 1.5, 2_000, 20_000]],
    );
    await setSqlClock({ database }, 40 * 86_400_000);
    await enforceRetention(database, defaultRetention);
    assert.deepEqual(await database.query('select from run_sample_averages where run_id = $1', [runId]), []);
  } finally {
    await setSqlClock({ database }, 0);
  }
});

interface Series {
  from: string;
  to: string;
  step_ms: number;
  points: StatsPoint[];
}
const { admin } = server;
const hour = 3_600_000;

/** Rows as the hub would have written them, at these ages in milliseconds, a sample each ten seconds. */
async function history(
  subject: 'run' | 'node',
  id: string,
  samples: { agoMs: number; cpu: number; rx: number }[],
) {
  await database.query(
    `insert into ${subject}_samples (slot, ${subject}_id, at, span_ms, cpu_cores, memory_bytes, network_rx_bytes, network_tx_bytes)
     select flotilla_sample_slot(s.at), $1, s.at, 10000, s.cpu, 1000, s.rx, 0
     from (select flotilla_now() - ago * interval '1 millisecond' as at, cpu, rx
       from unnest($2::integer[], $3::real[], $4::integer[]) t(ago, cpu, rx)) s`,
    [id, samples.map((it) => it.agoMs), samples.map((it) => it.cpu), samples.map((it) => it.rx)],
  );
}

test("a run's series: means, the most, and bytes a second, in the steps asked for", async () => {
  const node = await nodes.connect();
  const runId = await aRunningRun(node);
  const ages = [9, 8, 7, 6].map((tens) => tens * 10_000);
  await history(
    'run',
    runId,
    ages.map((agoMs, index) => ({ agoMs, cpu: index, rx: index * 10_000 })),
  );
  const from = new Date(Date.now() - 600_000).toISOString();
  const path = `/v1/job-runs/${runId}/stats?from=${from}&to=${new Date().toISOString()}&step_ms=600000`;
  const { points, step_ms } = await admin.ask<Series>('GET', path);
  assert.equal(step_ms, 600_000);
  const [point] = points;
  assert.deepEqual(
    [points.length, point?.cpu_cores, point?.cpu_cores_max, point?.memory_bytes],
    [1, 1.5, 3, 1_000],
  );
  assert.deepEqual([point?.network_rx_bytes_per_second, point?.gpu_utilisation], [1_500, null]);
  const fine = await admin.ask<Series>('GET', `${path.replace('600000', '10000')}`);
  assert.deepEqual(
    fine.points.map(({ cpu_cores }) => cpu_cores),
    [0, 1, 2, 3],
  );
});

test("a node's series goes on over the border between samples and averages, and counts nothing twice", async () => {
  const node = await nodes.connect();
  const ages = Array.from({ length: 3 * 12 }, (_, index) => index * 300_000 + 1_000);
  const recent = ages.filter((agoMs) => agoMs < 70 * 60_000);
  await history(
    'node',
    node.id,
    recent.map((agoMs) => ({ agoMs, cpu: 2, rx: 0 })),
  );
  await enforceRetention(database, defaultRetention);
  // Older than any slot: as averaged two hours ago.
  await database.query(
    "select flotilla_ensure_sample_days(flotilla_now() - interval '1 day', flotilla_now())",
  );
  await database.query(
    `insert into node_sample_averages (node_id, at, sample_count, span_ms, cpu_cores, cpu_cores_max)
     select $1, date_bin('5 minutes', flotilla_now() - ago * interval '1 millisecond', 'epoch'), 30, 300000, 4, 5
     from unnest($2::integer[]) ago`,
    [node.id, ages.filter((agoMs) => agoMs >= 80 * 60_000)],
  );
  const from = new Date(Date.now() - 3 * hour).toISOString();
  const { points } = await admin.ask<Series>('GET', `/v1/nodes/${node.id}/stats?from=${from}&step_ms=300000`);
  const levels = points.map(({ cpu_cores }) => cpu_cores);
  assert.ok(levels.every((level) => level === 2 || level === 4) && points.length >= 33);
  assert.ok(levels.indexOf(2) > levels.lastIndexOf(4), 'older ones first');
  const times = points.map(({ timestamp_ms }) => timestamp_ms);
  assert.deepEqual(
    times,
    [...new Set(times)].sort((a, b) => a - b),
  );
});

test('samples that a crash of the database lost are stood in for by their averages', async () => {
  const node = await nodes.connect();
  await history('node', node.id, [{ agoMs: 20 * 60_000, cpu: 3, rx: 0 }]);
  await database.query("update rounds set done_to = '-infinity' where name = 'sample_averages'");
  await enforceRetention(database, defaultRetention);
  await database.query('delete from node_samples where node_id = $1', [node.id]);
  const { points } = await admin.ask<Series>('GET', `/v1/nodes/${node.id}/stats`);
  assert.deepEqual(
    points.map(({ cpu_cores }) => cpu_cores),
    [3],
  );
});

test('a run that never used anything has no points, and wrong parameters are each named', async () => {
  const node = await nodes.connect();
  const { order } = await nodes.place(node);
  const path = `/v1/job-runs/${order.run_uuid}/stats`;
  assert.deepEqual((await admin.ask<Series>('GET', path)).points, []);
  const refusal = await admin.refusal('GET', `${path}?from=yesterday&step_ms=x&til=2026`);
  assert.deepEqual(
    (refusal.details as { path: string }[]).map((it) => it.path),
    ['from', 'step_ms', 'til'],
  );
  assert.equal((await admin.refusal('GET', `${path}?step_ms=100`)).status, 400);
});
