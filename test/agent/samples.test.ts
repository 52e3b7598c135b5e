// Samples of real containers: what a busy one, a full one and one that talks use shows, and an old server gets none.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RunUsage } from '../../src/protocol/hardware.ts';
import { stubGpus } from '../support/gpus.ts';
import { type ControlPlane, shell } from './support/control-plane.ts';
import { startAgent, withNode } from './support/node.ts';

const sampleMs = 500;
const megabyte = 1_000_000;

/** The first usage of the run that is so. */
async function usageOf(plane: ControlPlane, runUuid: string, isIt: (usage: RunUsage) => boolean) {
  const usages = () =>
    plane.samples.flatMap(({ runs }) => runs).filter(({ run_uuid }) => run_uuid === runUuid);
  await plane.until(() => usages().some(isIt), {
    what: () => `that use in ${JSON.stringify(usages().slice(-3))}`,
  });
  const found = usages().find(isIt);
  assert.ok(found);
  return found;
}

test('a busy container shows its CPU, a full one its memory, one that talks its network, and an idle one nothing', () =>
  withNode(async ({ plane }) => {
    plane.sampleMs = sampleMs;
    const busy = plane.want(shell('while :; do :; done'));
    const full = plane.want(shell('head -c 40000000 /dev/zero > /dev/shm/full; sleep 60'));
    // Nobody is there; what it sends counts all the same.
    const talks = plane.want(shell('while :; do nc -w 1 192.0.2.1 9 < /dev/null; sleep 0.1; done'));
    const idle = plane.want(shell('sleep 60'));
    const rate = ({ cpu_cores }: RunUsage) => cpu_cores ?? 0;
    const quiet = await usageOf(plane, idle, (usage) => usage.cpu_cores !== null && rate(usage) < 0.02);
    assert.ok(quiet.memory_bytes !== null && quiet.memory_bytes < 20 * megabyte);
    assert.ok(quiet.network_rx_bytes !== null && quiet.network_tx_bytes !== null);
    // Others share the machine: how busy it can be is theirs to say.
    const loaded = await usageOf(plane, busy, (usage) => rate(usage) > 0.1);
    assert.ok(rate(loaded) <= 64);
    await usageOf(plane, full, ({ memory_bytes }) => (memory_bytes ?? 0) > 40 * megabyte);
    await usageOf(plane, talks, ({ network_tx_bytes }) => (network_tx_bytes ?? 0) > 0);
    const { node, span_ms } = plane.samples.at(-1) ?? assert.fail('a sample');
    assert.ok(span_ms >= sampleMs / 2 && node.core_loads.length > 0);
    assert.ok((node.cpu_cores ?? 0) > 0 && (node.memory_free_bytes ?? 0) > 0);
    assert.ok(
      (node.storage_free_bytes ?? 0) > 0 && (node.storage_free_bytes ?? 0) < (node.storage_total_bytes ?? 0),
    );
  }));

test('a run with GPUs shows what is used of its own', async () => {
  using gpus = stubGpus(2);
  const [own = '', other = ''] = gpus.uuids;
  await withNode(async ({ plane }) => {
    plane.sampleMs = sampleMs;
    const run = plane.want({ ...shell('sleep 60'), gpu_uuids: [own] });
    await plane.event(run, 'running');
    gpus.use(own, 300);
    gpus.use(other, 500);
    const usage = await usageOf(plane, run, ({ gpu_memory_bytes }) => (gpu_memory_bytes ?? 0) > 0);
    assert.deepEqual([usage.gpu_utilisation, usage.gpu_memory_bytes], [0, 300 * 2 ** 20]);
    gpus.use(own, 0);
    gpus.use(other, 0);
  });
});

test('a server that asks for no samples gets none', () =>
  withNode(async ({ plane }) => {
    const run = plane.want(shell('sleep 1; exit 0'));
    await plane.event(run, 'released');
    assert.deepEqual(plane.samples, []);
  }));

test('an agent that starts anew samples what it finds running', () =>
  withNode(async ({ plane, agent }) => {
    plane.sampleMs = sampleMs;
    const run = plane.want(shell('sleep 60'));
    await usageOf(plane, run, ({ cpu_cores }) => cpu_cores !== null);
    await agent.stop();
    plane.samples.length = 0;
    const next = startAgent(plane);
    try {
      const { network_rx_bytes: received } = await usageOf(plane, run, ({ cpu_cores }) => cpu_cores !== null);
      assert.notEqual(received, null);
      assert.ok((plane.hellos.at(-1)?.inventory.parts?.cpus.length ?? 0) > 0);
    } finally {
      await next.stop();
    }
  }));
