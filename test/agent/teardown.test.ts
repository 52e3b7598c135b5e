// The lower rungs of the stop ladder on a real engine: one that does not answer, processes that do not die, an agent that is
// killed in the middle. Nothing is told before it is so.
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { stubGpus } from '../support/gpus.ts';
import { ControlPlane, type EventOf, shell } from './support/control-plane.ts';
import { startEngineProxy } from './support/engine-proxy.ts';
import {
  containerOf,
  docker,
  isGone,
  killHard,
  type RunningAgent,
  removeContainers,
  spawnAgent,
  withNode,
} from './support/node.ts';

const ignores = shell('trap "" TERM; echo ready; while :; do sleep 0.05; done');
const limitMs = 60_000;

async function ready(plane: ControlPlane, run: string): Promise<void> {
  await plane.event(run, 'running');
  await plane.until(() => plane.logOf(run).includes('ready'), { what: () => 'the program to be ready' });
}

function stuckReason(plane: ControlPlane, run: string): string | undefined {
  const told = plane.run(run).events.map(({ event }) => event);
  const stuck = told.find((event) => event.kind === 'teardown' && event.step === 'stuck');
  return (stuck as EventOf<'teardown'> | undefined)?.reason;
}

async function eventuallyWarned(agent: RunningAgent, reason: RegExp): Promise<void> {
  const giveUpAtMs = performance.now() + limitMs;
  while (!agent.lines.some(({ fields }) => reason.test(JSON.stringify(fields)))) {
    assert.ok(performance.now() < giveUpAtMs, `no warning ${reason}`);
    await delay(100);
  }
}

const stepsOf = (released: EventOf<'released'>) => released.steps.map(({ step }) => step);

test('an engine that swallows KILL and removal: the cgroup is killed, and the end is told when it can be proved', async () => {
  await using engine = await startEngineProxy();
  await withNode(
    async ({ plane }) => {
      const run = plane.want(ignores);
      await ready(plane, run);
      // Paused it does not die of what the agent sends by itself.
      await docker('pause', containerOf(run));
      engine.swallow(/^(POST .*\/kill\b|DELETE .*\/containers\/)/);
      plane.wantStop(run, 200);
      const exited = await plane.event(run, 'exited', limitMs);
      assert.equal(exited.exit_code, 137, 'dead by the cgroup, since the engine was told nothing');
      assert.ok(engine.swallowed.filter((call) => call.includes('/kill')).length >= 2, 'it was asked first');
      await plane.until(() => stuckReason(plane, run) !== undefined, { limitMs, what: () => 'stuck' });
      assert.match(stuckReason(plane, run) ?? '', /does not answer in time \((POST|DELETE) .*containers/);
      assert.equal(plane.kindsOf(run).includes('released'), false, 'the container is still in its list');
      engine.swallow(null);
      const released = await plane.event(run, 'released', limitMs);
      assert.equal(await isGone(run), true);
      assert.ok(stepsOf(released).includes('cgroup_killed'));
      assert.deepEqual([released.proof?.is_whole, released.proof?.processes.state], [true, 'gone']);
    },
    { engineSocket: engine.socketPath, stuckAfterMs: 5_000 },
  );
});

/** Processes frozen in a group of their own inside the container's: they do not die before they are thawed. */
function freeze(containerId: string, name: string): Disposable {
  const own = join('/sys/fs/cgroup/freezer/docker', containerId);
  const group = join(own, 'frozen');
  mkdirSync(group);
  const pids = readFileSync(join(own, 'cgroup.procs'), 'utf8').trim().split('\n');
  const chosen = pids.filter((pid) => readFileSync(`/proc/${pid}/cmdline`, 'utf8').startsWith(name));
  assert.ok(chosen.length > 0, `no process ${name} in the container`);
  for (const pid of chosen) writeFileSync(join(group, 'cgroup.procs'), pid);
  writeFileSync(join(group, 'freezer.state'), 'FROZEN');
  return {
    [Symbol.dispose]() {
      // The group goes with the container's own.
      writeFileSync(join(group, 'freezer.state'), 'THAWED');
    },
  };
}

test('a process that cannot be killed: told as stuck, its GPU kept from others, and never as gone', async (context) => {
  if (!existsSync('/sys/fs/cgroup/freezer'))
    return context.skip('only the freezer of cgroup v1 makes a process that does not die');
  using gpus = stubGpus(1);
  const [gpu = ''] = gpus.uuids;
  await withNode(
    async ({ plane, agent }) => {
      const command = ['/bin/sh', '-c', 'sleep 1000 & echo ready; wait'];
      const run = plane.want({ gpu_uuids: [gpu], container: { command } });
      await ready(plane, run);
      const id = await docker('inspect', '-f', '{{.Id}}', containerOf(run));
      {
        using _frozen = freeze(id, 'sleep');
        plane.wantStop(run, 0);
        await plane.until(() => stuckReason(plane, run) !== undefined, { limitMs, what: () => 'stuck' });
        const health = () => plane.inventories.at(-1)?.gpus[0];
        await plane.until(() => health()?.health === 'quarantined', { what: () => 'the quarantine' });
        assert.match(health()?.health_reason ?? '', new RegExp(`job run ${run} does not end`));
        // Up to the last rung and back to the first.
        await eventuallyWarned(agent, /of its container live/);
        assert.equal(plane.kindsOf(run).includes('released'), false);
        assert.notEqual(stuckReason(plane, run), undefined);
      }
      const released = await plane.event(run, 'released', limitMs);
      assert.equal(await isGone(run), true);
      assert.equal(released.proof?.processes.state, 'gone');
      assert.deepEqual(
        released.proof?.gpus.map(({ uuid, state }) => [uuid, state]),
        [[gpu, 'clean']],
      );
    },
    { stuckAfterMs: 5_000, gpuTimes: { cleanLimitMs: 2_000, recheckEveryMs: 60_000 } },
  );
});

test('an agent killed between signal and KILL: the next one ends the run, and tells what it did not see', async () => {
  const plane = await new ControlPlane().listen();
  let agent = spawnAgent(plane);
  try {
    const run = plane.want(ignores);
    await ready(plane, run);
    plane.wantStop(run, 2_000);
    await plane.until(() => plane.kindsOf(run).includes('signalled'), { what: () => 'the signal' });
    await killHard(agent);
    const container = plane
      .run(run)
      .events.map(({ event }) => event)
      .find(({ kind }) => kind === 'running');
    const id = (container as EventOf<'running'> | undefined)?.container_id;
    assert.equal(id, await docker('inspect', '-f', '{{.Id}}', containerOf(run)), 'still there');
    agent = spawnAgent(plane);
    const released = await plane.event(run, 'released', limitMs);
    assert.equal(await isGone(run), true);
    assert.equal(released.proof?.is_whole, false);
    assert.equal(released.proof?.processes.state, 'gone');
    assert.deepEqual(stepsOf(released).slice(0, 4), ['delivered', 'signalled', 'killed', 'exited']);
  } finally {
    await killHard(agent);
    await plane.close();
    await removeContainers(plane.nodeUuid);
  }
});

test('an agent killed between the end and its proof: the next one finds nothing, by the id that the server kept', async () => {
  const plane = await new ControlPlane().listen();
  let agent = spawnAgent(plane);
  try {
    const run = plane.want(shell('echo ready; sleep 60'));
    await ready(plane, run);
    const running = await plane.event(run, 'running');
    await killHard(agent);
    // As if the first had removed it and could not say so any more.
    await docker('rm', '-f', containerOf(run));
    plane.run(run).desired.container_id = running.container_id ?? null;
    plane.wantStop(run, 0);
    agent = spawnAgent(plane);
    const released = await plane.event(run, 'released', limitMs);
    const { proof } = released;
    assert.deepEqual(
      [proof?.is_whole, proof?.container.state, proof?.processes.state],
      [false, 'gone', 'gone'],
    );
    assert.equal(released.is_log_complete, null, 'what it wrote last, nobody knows');
  } finally {
    await killHard(agent);
    await plane.close();
    await removeContainers(plane.nodeUuid);
  }
});
