// What survives: a killed agent, a lost connection, a container that others remove, a neighbour on the same engine.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { DockerRuntime } from '../../src/agent/docker.ts';
import { ControlPlane, shell } from './support/control-plane.ts';
import {
  containerOf,
  docker,
  inspect,
  isGone,
  killHard,
  removeContainers,
  spawnAgent,
  startAgent,
  withNode,
} from './support/node.ts';

/** Both streams, numbered lines at 10,000 a second each burst, for some seconds. */
const lineCount = 40_000;
const talkative = `i=0; while [ $i -lt ${lineCount} ]; do j=$((i+1000)); seq $((i+1)) $j; seq $((i+1)) 10 $j >&2; i=$j; sleep 0.1; done; exit 5`;
const numbers = (step: number) => {
  const lines: string[] = [];
  for (let base = 0; base < lineCount; base += 1000) {
    for (let n = base + 1; n <= base + 1000; n += step) lines.push(`${n}\n`);
  }
  return lines.join('');
};

test('an agent that is killed again and again loses and doubles no log byte', async () => {
  const plane = await new ControlPlane().listen();
  let agent = spawnAgent(plane);
  try {
    const run = plane.want(shell(talkative));
    await plane.event(run, 'running');
    let killCount = 0;
    for (const shareDone of [0.1, 0.4, 0.7]) {
      const enough = shareDone * numbers(1).length;
      await plane.until(() => plane.run(run).logs.stdout.length >= enough, { what: () => `${enough} bytes` });
      await killHard(agent);
      killCount += 1;
      agent = spawnAgent(plane);
    }
    const exited = await plane.event(run, 'exited');
    const released = await plane.event(run, 'released');
    assert.equal(killCount, 3);
    assert.equal(exited.exit_code, 5);
    assert.equal(released.is_log_complete, true);
    assert.deepEqual(plane.logFaults, []);
    assert.ok(plane.logOf(run) === numbers(1), 'stdout is whole');
    assert.ok(plane.logOf(run, 'stderr') === numbers(10), 'stderr is whole');
    assert.ok(plane.hellos.length >= 4);
    assert.deepEqual(plane.hellos[1]?.containers, [{ run_uuid: run, attempt: 1, state: 'running' }]);
  } finally {
    await killHard(agent);
    await plane.close();
    await removeContainers(plane.nodeUuid);
  }
});

test('what ended while no agent lived is told by the next one', async () => {
  const plane = await new ControlPlane().listen();
  const first = spawnAgent(plane);
  const run = plane.want(shell('echo before; sleep 1; echo after; exit 9'));
  try {
    await plane.event(run, 'running');
    await killHard(first);
    await docker('wait', containerOf(run));
    const second = startAgent(plane);
    try {
      assert.equal((await plane.event(run, 'exited')).exit_code, 9);
      assert.equal((await plane.event(run, 'released')).is_log_complete, true);
      assert.equal(plane.logOf(run), 'before\nafter\n');
    } finally {
      await second.stop();
    }
  } finally {
    await killHard(first);
    await plane.close();
    await removeContainers(plane.nodeUuid);
  }
});

test('an agent that is told to end leaves its containers running, and the next one adopts them', async () => {
  const plane = await new ControlPlane().listen();
  const run = plane.want(shell('echo alive; sleep 60'));
  try {
    const first = startAgent(plane);
    await plane.event(run, 'running');
    await first.stop();
    assert.equal(await docker('inspect', '-f', '{{.State.Running}}', containerOf(run)), 'true');
    const second = startAgent(plane);
    await plane.until(() => plane.hellos.length === 2, { what: () => 'the second agent' });
    plane.wantStop(run, 0);
    await plane.event(run, 'released');
    await second.stop();
    assert.equal(plane.logOf(run), 'alive\n');
  } finally {
    await plane.close();
    await removeContainers(plane.nodeUuid);
  }
});

test('reports and logs that were not acknowledged are sent again after a reconnect', () =>
  withNode(async ({ plane }) => {
    plane.isReportAcked = false;
    plane.isLogAcked = false;
    const run = plane.want(shell('echo one; sleep 0.3; echo two; exit 4'));
    await plane.event(run, 'exited');
    await delay(300);
    assert.equal(await isGone(run), false, 'nothing is removed before it is acknowledged');
    plane.isReportAcked = true;
    plane.isLogAcked = true;
    plane.dropConnections();
    await plane.event(run, 'released');
    const kinds = plane
      .run(run)
      .events.filter(({ connection }) => connection === 2)
      .map(({ event }) => event.kind);
    assert.deepEqual(kinds, ['running', 'exited', 'released']);
    assert.equal(plane.logOf(run), 'one\ntwo\n');
  }));

test('a server that falls silent is left for a new connection, and an end that it forgot is told again', () =>
  withNode(async ({ plane }) => {
    const run = plane.want(shell('exit 2'));
    await plane.event(run, 'released');
    plane.fallSilent();
    await plane.until(() => plane.hellos.length === 2, { what: () => 'a new connection' });
    await plane.until(() => plane.kindsOf(run).length === 5, { what: () => 'the end once more' });
    assert.deepEqual(plane.kindsOf(run).slice(3), ['exited', 'released']);
    assert.equal(await isGone(run), true);
  }));

test('a log that nobody acknowledges stops being read and goes on after', () =>
  withNode(async ({ plane }) => {
    plane.isLogAcked = false;
    const line = 'x'.repeat(500);
    const run = plane.want(shell(`yes ${line} | head -n 3000 | cat -n`));
    await plane.event(run, 'exited');
    await plane.until(() => plane.run(run).logs.stdout.length > 900_000, { what: () => 'a full window' });
    await delay(500);
    const length = plane.run(run).logs.stdout.length;
    assert.ok(length <= 1024 * 1024 + 64 * 1024, `no more than the window: ${length}`);
    plane.isLogAcked = true;
    plane.dropConnections();
    await plane.event(run, 'released');
    const lines = Array.from({ length: 3000 }, (_, n) => `${String(n + 1).padStart(6)}\t${line}\n`);
    assert.ok(plane.logOf(run) === lines.join(''), 'whole');
  }));

test('a container that someone else removes is told as gone', () =>
  withNode(async ({ plane }) => {
    const run = plane.want(shell('echo here; sleep 60'));
    await plane.event(run, 'running');
    await docker('rm', '-f', containerOf(run));
    const exited = await plane.event(run, 'exited');
    await plane.event(run, 'released');
    assert.ok(exited.error?.code === 'container_disappeared' || exited.exit_signal === 'SIGKILL');
  }));

test('a container that vanished while no agent lived is told as disappeared and not started again', async () => {
  const plane = await new ControlPlane().listen();
  const run = plane.want({ ...shell('sleep 60'), status: 'RUNNING' });
  const agent = startAgent(plane);
  try {
    const exited = await plane.event(run, 'exited');
    await plane.event(run, 'released');
    assert.equal(exited.error?.code, 'container_disappeared');
    assert.deepEqual(plane.kindsOf(run), ['exited', 'released']);
    assert.equal(await isGone(run), true);
  } finally {
    await agent.stop();
    await plane.close();
  }
});

test('two agents on one engine mind their own containers only', async () => {
  const [one, two] = [await new ControlPlane().listen(), await new ControlPlane().listen()];
  const agents = [startAgent(one), startAgent(two)];
  try {
    const [runOne, runTwo] = [one.want(shell('echo one; sleep 60')), two.want(shell('echo two; sleep 60'))];
    await one.event(runOne, 'running');
    await two.event(runTwo, 'running');
    one.dropConnections();
    await one.until(() => one.hellos.length === 2, { what: () => 'a reconnect' });
    assert.deepEqual(
      one.hellos[1]?.containers.map((container) => container.run_uuid),
      [runOne],
    );
    one.kill(runTwo);
    one.wantStop(runOne, 0);
    await one.event(runOne, 'released');
    assert.equal(await docker('inspect', '-f', '{{.State.Running}}', containerOf(runTwo)), 'true');
    assert.deepEqual(one.orphans.flat(), []);
  } finally {
    for (const agent of agents) await agent.stop();
    for (const plane of [one, two]) {
      await plane.close();
      await removeContainers(plane.nodeUuid);
    }
  }
});

test('a container that the server does not name is told as orphan and kept; another cluster is not even told', async () => {
  const plane = await new ControlPlane().listen();
  const other = new ControlPlane({ nodeUuid: plane.nodeUuid });
  const orphan = crypto.randomUUID();
  const foreign = crypto.randomUUID();
  const labelled = (cluster: string, run: string) =>
    Object.entries({ cluster, node: plane.nodeUuid, run, attempt: '1' }).flatMap(([word, value]) => [
      '--label',
      `flotilla.${word}=${value}`,
    ]);
  await docker(
    'run',
    '-d',
    '--name',
    containerOf(orphan),
    ...labelled(plane.clusterUuid, orphan),
    'busybox',
    'sleep',
    '60',
  );
  await docker(
    'run',
    '-d',
    '--name',
    containerOf(foreign),
    ...labelled(other.clusterUuid, foreign),
    'busybox',
    'sleep',
    '60',
  );
  const agent = startAgent(plane);
  try {
    await plane.until(() => plane.orphans.length > 0, { what: () => 'the orphans' });
    const found = plane.orphans[0]?.map(({ removal_ms: _, ...container }) => container);
    assert.deepEqual(found, [{ run_uuid: orphan, attempt: 1, state: 'running' }]);
    await delay(1_000);
    assert.notEqual(await inspect(containerOf(orphan)), null);
    plane.kill(foreign);
    plane.kill(orphan);
    for (let round = 0; round < 100 && !(await isGone(orphan)); round += 1) await delay(50);
    assert.equal(await isGone(orphan), true);
    assert.notEqual(await inspect(containerOf(foreign)), null);
  } finally {
    await agent.stop();
    await plane.close();
    await removeContainers(plane.nodeUuid);
  }
});

test('an agent that is refused says why and goes on trying', async () => {
  const plane = await new ControlPlane().listen();
  plane.refusal = { code: 'protocol_unsupported', message: 'This server accepts agents of protocol 7.' };
  const agent = startAgent(plane);
  try {
    await plane.until(() => plane.hellos.length === 1, { what: () => 'a hello' });
    await delay(200);
    const reasons = agent.lines.filter(({ level }) => level === 'error').map(({ fields }) => fields);
    assert.deepEqual(reasons, [{ code: plane.refusal.code, reason: plane.refusal.message }]);
    assert.deepEqual(plane.upgradeHeaders[0]?.['x-test-signature'], 'GET /v1/agent/connect');
    assert.equal(plane.connectionCount, 0);
  } finally {
    await agent.stop();
    await plane.close();
  }
});

test('a node that does not know its name learns it and says hello again with its containers', async () => {
  const plane = await new ControlPlane().listen();
  const run = plane.want(shell('sleep 60'));
  const knowing = startAgent(plane);
  await plane.event(run, 'running');
  await knowing.stop();
  const agent = startAgent(plane, { nodeKey: { public_key: 'pk', secret_key: 'sk', url: plane.url } });
  try {
    await plane.until(() => plane.hellos.length === 3, { what: () => 'the second hello' });
    assert.deepEqual(
      plane.hellos.map(({ containers }) => containers.length),
      [0, 0, 1],
    );
  } finally {
    await agent.stop();
    await plane.close();
    await removeContainers(plane.nodeUuid);
  }
});

test('processes that outlive their engine are killed through their cgroup', () =>
  withNode(async ({ plane }) => {
    const run = plane.want(shell('trap "" TERM; echo ready; sleep 60 & wait; sleep 60'));
    await plane.event(run, 'running');
    const id = await docker('inspect', '-f', '{{.Id}}', containerOf(run));
    assert.equal(await new DockerRuntime(null).killProcesses(id), 0);
    assert.equal((await plane.event(run, 'exited')).exit_code, 137);
  }));
