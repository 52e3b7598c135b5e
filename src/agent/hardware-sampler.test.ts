// Samples of a machine and its runs from two looks: what was used between them, and what cannot be known.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { GpuLoad } from '../protocol/hardware.ts';
import { HardwareSampler, usageBetween } from './hardware-sampler.ts';
import type { MachineReading, UsageReading } from './machine-load.ts';
import { newRecord, type RunRecord } from './run-record.ts';

const usage = (fields: Partial<UsageReading> = {}): UsageReading => ({
  ...{
    cpuMs: 0,
    memoryBytes: 0,
    networkRxBytes: 0,
    networkTxBytes: 0,
    diskReadBytes: 0,
    diskWrittenBytes: 0,
  },
  ...fields,
});
const machine = (fields: Partial<MachineReading> = {}): MachineReading => ({
  ...{ ...usage(), cores: [], memoryFreeBytes: 6, memoryTotalBytes: 10 },
  ...fields,
});

function aRun(runUuid: string, fields: Partial<RunRecord> = {}): RunRecord {
  return { ...newRecord(runUuid, 1), containerId: `c-${runUuid}`, ...fields };
}

/** A node whose readings the test sets. */
function aNode() {
  const node = {
    nowMs: 0,
    machine: machine(),
    gpus: [] as GpuLoad[],
    runs: [] as RunRecord[],
    usages: new Map<string, UsageReading>(),
  };
  const sampler = new HardwareSampler({
    readers: { readMachine: async () => node.machine, readGpuLoads: async () => node.gpus },
    readStorage: async () => ({ totalBytes: 100, freeBytes: 40 }),
    readUsage: async (containerId) => node.usages.get(containerId) ?? null,
    clock: { nowMs: () => node.nowMs, wallMs: () => 0, after: () => () => {} },
    hasGpus: () => node.gpus.length > 0,
    livingRuns: () => node.runs,
  });
  return { node, sampler };
}

test('the first look tells nothing, the second what was used in between', async () => {
  const { node, sampler } = aNode();
  node.machine = machine({ cores: [{ busy: 0, total: 0 }], cpuMs: 1_000, networkRxBytes: 50 });
  assert.equal(await sampler.take(), null);
  node.nowMs = 10_000;
  node.machine = machine({ cores: [{ busy: 250, total: 1_000 }], cpuMs: 3_500, networkRxBytes: 80 });
  const sample = await sampler.take();
  assert.equal(sample?.span_ms, 10_000);
  assert.equal(sample.node.cpu_cores, 0.25);
  assert.deepEqual(sample.node.core_loads, [0.25]);
  assert.equal(sample.node.network_rx_bytes, 30);
  assert.deepEqual([sample.node.memory_free_bytes, sample.node.storage_free_bytes], [6, 40]);
});

test('a run that began since the last look is told with its own, shorter span', async () => {
  const { node, sampler } = aNode();
  await sampler.take();
  node.nowMs = 10_000;
  node.runs = [aRun('a', { startedAtMs: 8_000 }), aRun('gone', { startedAtMs: 9_000 })];
  node.usages.set('c-a', usage({ cpuMs: 1_000, memoryBytes: 7 }));
  const sample = await sampler.take();
  assert.deepEqual(
    sample?.runs.map(({ run_uuid, span_ms, cpu_cores, memory_bytes }) => [
      ...[run_uuid, span_ms, cpu_cores, memory_bytes],
    ]),
    [['a', 2_000, 0.5, 7]],
  );
});

test('a run has the use of its own GPUs alone', async () => {
  const { node, sampler } = aNode();
  const desired = { gpu_uuids: ['one', 'two'] } as unknown as NonNullable<RunRecord['desired']>;
  node.gpus = [
    { uuid: 'one', utilisation: 1, memory_used_bytes: 10 },
    { uuid: 'two', utilisation: 0.5, memory_used_bytes: 20 },
    { uuid: 'three', utilisation: 0, memory_used_bytes: 40 },
  ];
  node.runs = [aRun('a', { startedAtMs: 0, desired }), aRun('b', { startedAtMs: 0 })];
  for (const id of ['c-a', 'c-b']) node.usages.set(id, usage());
  await sampler.take();
  node.nowMs = 10_000;
  const sample = await sampler.take();
  assert.deepEqual([sample?.node.gpu_utilisation, sample?.node.gpu_memory_bytes], [0.5, 70]);
  assert.deepEqual(
    sample?.runs.map(({ gpu_utilisation, gpu_memory_bytes }) => [gpu_utilisation, gpu_memory_bytes]),
    [
      [0.75, 30],
      [null, null],
    ],
  );
});

test('a counter that fell, or that nobody could read, says nothing; the others do', () => {
  const before = usage({ cpuMs: 500, networkRxBytes: null, diskReadBytes: 5 });
  const after = usage({ cpuMs: 100, networkRxBytes: 9, diskReadBytes: 8, memoryBytes: null });
  const told = usageBetween(before, after, 1_000);
  assert.deepEqual(told, {
    ...{ cpu_cores: null, memory_bytes: null, network_rx_bytes: null, network_tx_bytes: 0 },
    ...{ disk_read_bytes: 3, disk_written_bytes: 0 },
  });
});
