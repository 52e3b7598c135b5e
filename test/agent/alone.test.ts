// An agent that cannot hear or believe its server, on real Docker: cut off, restored, orphans, another cluster.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { AgentOptions } from '../../src/agent/agent.ts';
import { systemClock } from '../../src/agent/clock.ts';
import { ControlPlane, shell } from './support/control-plane.ts';
import {
  containerOf,
  docker,
  inspect,
  isGone,
  removeContainers,
  startAgent,
  withNode,
} from './support/node.ts';

const folder = mkdtempSync(join(tmpdir(), 'flotilla-alone-'));
after(() => rmSync(folder, { recursive: true, force: true }));

async function eventuallyGone(runUuid: string): Promise<void> {
  for (let tries = 0; tries < 200 && !(await isGone(runUuid)); tries += 1) await sleep(50);
  assert.equal(await isGone(runUuid), true, `${runUuid} is gone`);
}

async function stateOf(runUuid: string): Promise<string> {
  const container = (await inspect(containerOf(runUuid))) as { State?: { Status: string } } | null;
  return container?.State?.Status ?? 'gone';
}

async function eventuallyExited(runUuid: string): Promise<void> {
  for (let tries = 0; tries < 200 && (await stateOf(runUuid)) === 'running'; tries += 1) await sleep(50);
  assert.equal(await stateOf(runUuid), 'exited');
}

/** A container as an agent makes it, which no server of this test ordered. */
async function aStray(labels: { cluster: string; node: string }): Promise<string> {
  const run = randomUUID();
  const all = Object.entries({ ...labels, run, attempt: '1' });
  const flags = all.flatMap(([word, value]) => ['--label', `flotilla.${word}=${value}`]);
  await docker('run', '-d', '--name', containerOf(run), ...flags, 'busybox', 'sleep', '600');
  return run;
}

/** One plane after the other for the same agent, as a server that was restored; ends with its containers. */
async function withPlane(
  body: (
    plane: ControlPlane,
    start: (options?: Partial<AgentOptions>) => ReturnType<typeof startAgent>,
  ) => Promise<void>,
): Promise<void> {
  const plane = await new ControlPlane().listen();
  const agents: ReturnType<typeof startAgent>[] = [];
  const stateDirectory = join(folder, plane.nodeUuid);
  try {
    await body(plane, (options = {}) => {
      const agent = startAgent(plane, { stateDirectory, ...options });
      agents.push(agent);
      return agent;
    });
  } finally {
    for (const agent of agents) await agent.stop();
    await plane.close();
    await removeContainers(plane.nodeUuid);
  }
}

test('an agent that is cut off keeps its work', () =>
  withNode(async ({ plane }) => {
    const run = plane.want(shell('sleep 600'));
    await plane.event(run, 'running');
    await plane.goAway();
    await sleep(3_000);
    assert.equal(await stateOf(run), 'running');
    await plane.listen();
    await plane.until(() => plane.connectionCount === 2, { what: () => 'the agent to be back' });
    assert.deepEqual(plane.kindsOf(run), ['running']);
  }));

test('with a limit it stops its work after that time alone, with its grace, and reports it when it is back', () =>
  withNode(
    async ({ plane }) => {
      const polite = plane.want(
        shell('trap "echo bye; exit 5" TERM; echo ready; while :; do sleep 0.1; done'),
      );
      await plane.event(polite, 'running');
      await plane.until(() => plane.logOf(polite).includes('ready'), { what: () => 'its log' });
      await sleep(2_500);
      assert.equal(await stateOf(polite), 'running', 'while it is connected no limit counts');
      const cutAtMs = performance.now();
      await plane.goAway();
      await eventuallyExited(polite);
      const aloneMs = performance.now() - cutAtMs;
      assert.ok(aloneMs > 1_000, `it was alone for ${Math.round(aloneMs)} ms`);
      await plane.listen();
      const end = await plane.event(polite, 'exited');
      assert.deepEqual([end.exit_code, end.error?.code], [5, 'cut_off']);
      assert.match(end.error?.message ?? '', /cut off from the server/);
      await plane.event(polite, 'released');
      assert.equal(plane.logOf(polite), 'ready\nbye\n', 'its last words are not lost');
    },
    { stopWhenCutOffMs: 2_000 },
  ));

test('a server that is connected but silent counts as cut off, too', () =>
  withNode(
    async ({ plane }) => {
      const run = plane.want(shell('sleep 600'));
      await plane.event(run, 'running');
      plane.fallSilent();
      await eventuallyExited(run);
    },
    { stopWhenCutOffMs: 1_500 },
  ));

test('what an earlier life of the agent started is stopped, too, and told when the server is back', () =>
  withPlane(async (plane, start) => {
    const first = start();
    const run = plane.want(shell('trap "exit 0" TERM; while :; do sleep 0.1; done'));
    await plane.event(run, 'running');
    await first.stop();
    await plane.goAway();
    start({ stopWhenCutOffMs: 1_000 });
    await eventuallyExited(run);
    await plane.listen();
    assert.equal((await plane.event(run, 'exited')).error?.code, 'cut_off');
    await plane.event(run, 'released');
  }));

test('after a restore nothing that the server does not know is removed before the word, and then at once', () =>
  withPlane(async (plane, start) => {
    const agent = start();
    const lost = plane.want(shell('sleep 600'));
    const kept = plane.want(shell('sleep 600'));
    for (const run of [lost, kept]) await plane.event(run, 'running');
    await agent.stop();
    plane.runs.delete(lost);
    plane.awaitsWord = true;
    start();
    await plane.until(() => (plane.orphans.at(-1)?.length ?? 0) > 0, { what: () => 'the orphan' });
    const [told] = plane.orphans.at(-1) ?? [];
    assert.deepEqual([told?.run_uuid, told?.removal_ms], [lost, null]);
    // The kill list of a restored database is not believed either.
    plane.kill(lost);
    await sleep(3_000);
    assert.equal(await stateOf(lost), 'running');
    // What it does know goes on, and is stopped as ever.
    plane.wantStop(kept, 0);
    await plane.event(kept, 'released');
    plane.send({ type: 'restore_accepted', cluster_generation: 1 });
    await eventuallyGone(lost);
  }));

test('the last orders are told at every hello, also by the next life of the agent', () =>
  withPlane(async (plane, start) => {
    const first = start();
    const run = plane.want(shell('sleep 600'));
    await plane.event(run, 'running');
    await first.stop();
    start();
    await plane.until(() => plane.hellos.length === 2, { what: () => 'the second hello' });
    const [before, now] = plane.hellos;
    assert.deepEqual([before?.cluster_generation, before?.last_orders], [0, []]);
    assert.deepEqual([now?.cluster_generation, now?.last_orders], [1, [run]]);
  }));

test('an orphan is told, kept for fifteen minutes and removed; a container of another cluster is never touched', () =>
  withPlane(async (plane, start) => {
    let aheadMs = 0;
    const clock = { ...systemClock, nowMs: () => systemClock.nowMs() + aheadMs };
    const orphan = await aStray({ cluster: plane.clusterUuid, node: plane.nodeUuid });
    const foreign = await aStray({ cluster: randomUUID(), node: plane.nodeUuid });
    start({ clock });
    await plane.until(() => plane.orphans.length > 0, { what: () => 'the orphan' });
    const [told, ...others] = plane.orphans[0] ?? [];
    assert.deepEqual([told?.run_uuid, told?.state, others], [orphan, 'running', []]);
    assert.ok((told?.removal_ms ?? 0) > 890_000, `${told?.removal_ms} ms are left`);
    aheadMs += 14 * 60_000;
    await sleep(6_000);
    assert.equal(await stateOf(orphan), 'running', 'a minute before');
    aheadMs += 60_000;
    await eventuallyGone(orphan);
    assert.equal(await stateOf(foreign), 'running');
    await plane.until(() => plane.orphans.at(-1)?.length === 0, { what: () => 'the word that none is left' });
  }));
