// GPUs before and after a run: exact devices, never one twice, and none handed on before it is proved clean.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { ControlPlane } from '../agent/support/control-plane.ts';
import { withNode } from '../agent/support/node.ts';
import { stubGpus } from '../support/gpus.ts';

const gpuTimes = { cleanLimitMs: 2_000, recheckEveryMs: 500 };

function onGpu(uuid: string, script: string) {
  return { gpu_uuids: [uuid], container: { command: ['/bin/sh', '-c', script] } };
}

async function healthOf(plane: ControlPlane, uuid: string, health: 'ok' | 'quarantined'): Promise<string> {
  const last = () => plane.inventories.at(-1)?.gpus.find((gpu) => gpu.uuid === uuid);
  await plane.until(() => last()?.health === health, {
    what: () => `${uuid} to be ${health}; it is ${JSON.stringify(last())}`,
  });
  return last()?.health_reason ?? '';
}

test('a GPU whose memory comes back late is waited for, and then free', async () => {
  using gpus = stubGpus(2);
  const [gpu = ''] = gpus.uuids;
  gpus.use(gpu, 10);
  await withNode(async ({ plane }) => {
    const run = plane.want(onGpu(gpu, 'sleep 0.5'));
    await plane.event(run, 'running');
    gpus.use(gpu, 9_000, [4711]);
    await plane.event(run, 'exited');
    await delay(1_000);
    assert.equal(plane.kindsOf(run).includes('released'), false);
    // A little above the baseline is what drivers do by themselves.
    gpus.use(gpu, 40);
    const { steps } = await plane.event(run, 'released');
    assert.ok(steps.some(({ step }) => step === 'gpus_clean'));
    assert.equal(
      plane.hellos[0]?.inventory.gpus.every(({ health }) => health === 'ok'),
      true,
    );
    assert.deepEqual(
      plane.inventories.flatMap((inventory) => inventory.gpus.filter((one) => one.health !== 'ok')),
      [],
    );
  });
});

test('a GPU that stays dirty is quarantined before its run is released, also after a restart, until it is clean', async () => {
  using gpus = stubGpus(2);
  const [dirty = '', other = ''] = gpus.uuids;
  const stateDirectory = mkdtempSync(join(tmpdir(), 'flotilla-state-'));
  try {
    await withNode(
      async ({ plane }) => {
        const run = plane.want(onGpu(dirty, 'sleep 0.5'));
        await plane.event(run, 'running');
        gpus.use(dirty, 7_900, [4711]);
        let wasToldFirst = false;
        await plane.until(
          () => {
            const isReleased = plane.kindsOf(run).includes('released');
            const isTold = plane.inventories.at(-1)?.gpus[0]?.health === 'quarantined';
            wasToldFirst ||= isTold && !isReleased;
            return isReleased;
          },
          { what: () => 'the release' },
        );
        assert.equal(wasToldFirst, true);
        const reason = await healthOf(plane, dirty, 'quarantined');
        assert.match(
          reason,
          new RegExp(`after job run ${run} 7900 MiB are in use, 0 MiB were before; process 4711`),
        );

        const refused = plane.want(onGpu(dirty, 'true'));
        const { error } = await plane.event(refused, 'exited');
        assert.equal(error?.code, 'gpu_quarantined');
        assert.equal((await plane.event(plane.want(onGpu(other, 'true')), 'exited')).exit_code, 0);
      },
      { stateDirectory, gpuTimes },
    );
    await withNode(
      async ({ plane }) => {
        await plane.until(() => plane.hellos.length > 0, { what: () => 'the hello' });
        assert.equal(plane.hellos[0]?.inventory.gpus[0]?.health, 'quarantined');
        gpus.use(dirty, 0);
        await healthOf(plane, dirty, 'ok');
        assert.equal((await plane.event(plane.want(onGpu(dirty, 'true')), 'exited')).exit_code, 0);
      },
      { stateDirectory, gpuTimes },
    );
  } finally {
    rmSync(stateDirectory, { recursive: true, force: true });
  }
});

test('a driver that fails before a run fails the run, one that fails after it quarantines the GPU', async () => {
  using gpus = stubGpus(1);
  const [gpu = ''] = gpus.uuids;
  await withNode(
    async ({ plane }) => {
      await plane.until(() => plane.connectionCount > 0, { what: () => 'the agent' });
      gpus.break(true);
      const { error } = await plane.event(plane.want(onGpu(gpu, 'true')), 'exited');
      assert.equal(error?.code, 'gpu_unavailable');
      gpus.break(false);
      const run = plane.want(onGpu(gpu, 'sleep 0.5'));
      await plane.event(run, 'running');
      gpus.break(true);
      await plane.event(run, 'released');
      assert.match(await healthOf(plane, gpu, 'quarantined'), /its state cannot be read/);
      gpus.break(false);
      assert.equal(await healthOf(plane, gpu, 'ok'), '');
    },
    { gpuTimes },
  );
});

test('GPUs come and go while the agent runs; one that is lost under its run is quarantined with the reason', async () => {
  using gpus = stubGpus(2);
  const [first = '', second = '', third = ''] = [...gpus.uuids, 'GPU-00000000-0000-4000-8000-000000000002'];
  await withNode(
    async ({ plane }) => {
      await plane.until(() => plane.connectionCount > 0, { what: () => 'the agent' });
      gpus.setCount(3);
      await healthOf(plane, third, 'ok');
      const run = plane.want(onGpu(second, 'sleep 3'));
      await plane.event(run, 'running');
      gpus.setCount(1);
      const reason = await healthOf(plane, second, 'quarantined');
      assert.match(reason, new RegExp(`does not tell of it any more, while job run ${run} has it`));
      assert.deepEqual(
        plane.inventories.at(-1)?.gpus.map(({ uuid }) => uuid),
        [first, second],
        'the third, which was idle, is gone without a word',
      );
      await plane.event(run, 'released');
      await plane.until(() => /after job run/.test(plane.inventories.at(-1)?.gpus[1]?.health_reason ?? ''), {
        what: () => 'the quarantine after the run',
      });
      gpus.setCount(3);
      await healthOf(plane, second, 'ok');
      assert.equal((await plane.event(plane.want(onGpu(second, 'true')), 'exited')).exit_code, 0);
    },
    { gpuTimes, inventoryEveryMs: 300 },
  );
});
