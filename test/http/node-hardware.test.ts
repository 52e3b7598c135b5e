// A node as the API shows it: what it is made of, its last load, and the reputation that its deeds earn.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { judgeNodes } from '../../src/db/reputation.ts';
import type { NodeLoad } from '../../src/protocol/hardware.ts';
import type { ListEnvelope } from '../../src/protocol/list.ts';
import type { Node } from '../../src/protocol/node.ts';
import { released } from '../support/agent.ts';
import { anInventory } from '../support/builders.ts';
import { createHandNodes, endsWith, type HandNode, runsNow } from '../support/hand-nodes.ts';
import { eventually, setSqlClock, startTestServer } from '../support/server.ts';

const server = await startTestServer();
const { admin, database } = server;
const nodes = createHandNodes(server);
after(() => nodes.close());

const gpu = {
  index: 0,
  uuid: 'GPU-1',
  name: 'NVIDIA GeForce RTX 4090',
  vram_mib: 24_564,
  driver_version: '550',
};
const parts = {
  cpus: [
    {
      ...{ name: 'AMD EPYC', vendor: 'AuthenticAMD', num_cores: 16, num_threads: 32 },
      ...{ base_clock_mhz: 2_450, features: ['avx2'] },
    },
  ],
  hard_drives: [{ name: 'nvme0n1', model: 'Samsung', size_bytes: 2e12, is_rotational: false }],
};
const load: NodeLoad = {
  ...{ cpu_cores: 1.5, memory_bytes: 3e9, gpu_utilisation: 0.355, gpu_memory_bytes: 1_024 * 2 ** 20 },
  ...{ network_rx_bytes: 10, network_tx_bytes: 20, disk_read_bytes: 0, disk_written_bytes: 0 },
  core_loads: [0.5, 1],
  ...{ memory_free_bytes: 5e9, memory_total_bytes: 8e9, storage_free_bytes: 6e10, storage_total_bytes: 1e11 },
  gpus: [{ uuid: gpu.uuid, utilisation: 0.355, memory_used_bytes: 1_024 * 2 ** 20 }],
};

test('a node shows its parts, and its last sample in the words of the reference', async () => {
  const node = await nodes.connect();
  assert.equal((await nodes.get(node)).latest_hardware_event, null);
  node.agent.send({ type: 'inventory', inventory: { ...anInventory(), gpus: [gpu], parts } });
  node.agent.send({ type: 'sample', span_ms: 10_000, node: load, runs: [] });
  const shown = await eventually('hardware and load', async () => {
    const found = await nodes.get(node);
    return found.latest_hardware_event !== null && found.current_hardware?.gpus.length === 1 && found;
  });
  const { current_hardware: hardware, latest_hardware_event: event } = shown;
  assert.ok(hardware !== null && event !== null);
  const { cpus, gpus, hard_drives: drives } = hardware;
  const { architecture } = anInventory();
  assert.deepEqual(cpus, [{ ...parts.cpus[0], architecture, chipset: null, device_id: null }]);
  assert.deepEqual([gpus[0]?.name, gpus[0]?.device_id, gpus[0]?.vram_gb_max], [gpu.name, 'GPU-1', 25.757]);
  assert.deepEqual(drives.map(({ name, max_capacity_gb }) => [name, max_capacity_gb]).at(-1), [
    'nvme0n1',
    2_000,
  ]);
  assert.deepEqual(
    [event.object, event.node, event.account],
    ['node_hardware_event', node.id, server.storage.account.id],
  );
  assert.ok(Math.abs(event.timestamp_ms - Date.now()) < 60_000);
  assert.deepEqual(event.metadata, {
    cpu: { average: 75, cores: [50, 100] },
    gpu: {
      average: 35.5,
      gpus: [
        {
          uuid: 'GPU-1',
          name: gpu.name,
          load: 35.5,
          vram: { free: 23_540 * 2 ** 20, total: 24_564 * 2 ** 20 },
        },
      ],
    },
    ram: { free: 5e9, total: 8e9 },
    storage: {
      hard_drives: [{ name: 'container storage', model: null, free_capacity: 6e10, total_capacity: 1e11 }],
    },
    network: { rx_bytes: 10, tx_bytes: 20 },
  });
  assert.equal((await nodes.get(node)).latest_hardware_event?.uuid, event.uuid);
});

test('an agent that sends neither parts nor samples is shown with what it tells', async () => {
  const node = await nodes.connect();
  const { current_hardware: hardware, latest_hardware_event: event } = await nodes.get(node);
  const { cpu_model: name, cpu_count: count } = anInventory();
  assert.equal(event, null);
  assert.deepEqual([hardware?.cpus[0]?.name, hardware?.cpus[0]?.num_cores], [name, count]);
});

test('nodes are listed by region', async () => {
  const node = await nodes.connect();
  const list = await admin.ask<ListEnvelope<Node>>('GET', `/v1/nodes?filter[region_code]=${node.region}`);
  assert.deepEqual(
    list.data.map(({ uuid }) => uuid),
    [node.id],
  );
  assert.equal((await admin.refusal('GET', '/v1/nodes?filter[region_code]=moon-1')).status, 400);
});

const minute = 60_000;

/** What was done so far is judged, by the clock of `atMs` from now. */
async function judgeAt(atMs: number): Promise<void> {
  try {
    await setSqlClock({ database }, atMs);
    await judgeNodes(database);
  } finally {
    await setSqlClock({ database }, 0);
  }
}

async function reputationOf(node: HandNode): Promise<number> {
  return (await nodes.get(node)).reputation;
}

async function aRun(node: HandNode, end: Parameters<typeof endsWith>[0] | { code: string }): Promise<void> {
  const { order } = await nodes.place(node);
  await node.agent.report(order, runsNow);
  const ended = endsWith(typeof end === 'number' ? end : 137);
  const error = typeof end === 'number' ? null : { code: end.code, message: 'It is no longer there.' };
  await node.agent.report(order, { ...ended, error } as typeof ended);
  await node.agent.report(order, released);
}

test('a reputation begins in the middle, rises with runs that ended as they should, falls with those the node lost', async () => {
  const [good, bad, idle] = [await nodes.connect(), await nodes.connect(), await nodes.connect()];
  assert.deepEqual(await Promise.all([good, bad, idle].map(reputationOf)), [50, 50, 50]);
  await aRun(good, 0);
  // What the program itself did wrong is no fault of the node.
  await aRun(good, 3);
  await aRun(bad, 0);
  await aRun(bad, { code: 'container_disappeared' });
  await judgeAt(10 * minute);
  const [goodValue = 0, badValue = 0] = await Promise.all([good, bad].map(reputationOf));
  assert.ok(goodValue >= 58 && goodValue < 59, `7 of 12: ${goodValue}`);
  assert.ok(badValue >= 37 && badValue < 38, `6 of 16: ${badValue}`);
  await judgeAt(10 * minute);
  assert.equal(await reputationOf(bad), badValue, 'nothing is judged twice');
  for (let minutes = 25; minutes <= 205; minutes += 15) await judgeAt(minutes * minute);
  assert.ok((await reputationOf(idle)) > 50, 'to be there is a promise kept');
  const later = await reputationOf(bad);
  assert.ok(later > badValue && later < badValue + 1, `nothing was broken since: ${later}`);
});

test('a node that is gone for so long that its runs are given up loses more', async () => {
  const [gone, there] = [await nodes.connect(), await nodes.connect()];
  const { order } = await nodes.place(gone);
  await gone.agent.report(order, runsNow);
  await judgeAt(240 * minute);
  const before = await reputationOf(gone);
  await database.query(
    `insert into node_events (created_at, node_id, kind, actor)
     values (flotilla_now() + interval '241 minutes', $1, 'lost', '{"kind": "scheduler"}')`,
    [gone.id],
  );
  await judgeAt(260 * minute);
  assert.ok((await reputationOf(gone)) < 30 && before > 45);
  assert.ok((await reputationOf(there)) > 50);
});
