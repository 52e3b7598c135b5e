// Samples that agents send: stored for runs and nodes, averaged after five minutes, shown by the API.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { defaultRetention, enforceRetention } from '../../src/db/retention.ts';
import { newId } from '../../src/main/ids.ts';
import type { NodeLoad, RunUsage, Usage } from '../../src/protocol/hardware.ts';
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
