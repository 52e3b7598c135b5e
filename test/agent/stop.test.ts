// Stop at every point of a run's life, in real containers.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type ControlPlane, shell } from './support/control-plane.ts';
import { startEngineProxy } from './support/engine-proxy.ts';
import { buildImage, containerOf, docker, isGone, withNode } from './support/node.ts';

/** A shell that says when it is ready, so that a signal does not come before its handler. */
const honours = shell('trap "echo bye; exit 7" TERM; echo ready; while :; do sleep 0.05; done');
const ignores = shell('trap "" TERM; echo ready; while :; do sleep 0.05; done');

async function ready(plane: ControlPlane, run: string): Promise<void> {
  await plane.event(run, 'running');
  await plane.until(() => plane.logOf(run).includes('ready'), { what: () => 'the program to be ready' });
}

test('a program that honours TERM ends by itself, with its own code and its last words', () =>
  withNode(async ({ plane }) => {
    const run = plane.want(honours);
    await ready(plane, run);
    plane.wantStop(run, 10_000);
    const exited = await plane.event(run, 'exited');
    const released = await plane.event(run, 'released');
    assert.equal(exited.exit_code, 7);
    assert.deepEqual(plane.kindsOf(run), ['running', 'delivered', 'signalled', 'exited', 'released']);
    assert.equal(plane.logOf(run), 'ready\nbye\n');
    assert.deepEqual(
      released.steps.map(({ step }) => step),
      [
        ...['delivered', 'signalled', 'exited', 'log_stored', 'removed'],
        ...['processes_gone', 'networks_gone', 'volumes_gone'],
      ],
    );
    const gone = { state: 'gone', why: null };
    assert.deepEqual(released.proof, {
      ...{ is_whole: true, container: gone, processes: gone, networks: gone },
      ...{ volumes: { state: 'none', why: null }, gpus: [] },
    });
    assert.equal(await isGone(run), true);
  }));

test('a program that ignores TERM is killed after its grace', () =>
  withNode(async ({ plane }) => {
    const run = plane.want(ignores);
    await ready(plane, run);
    const askedAtMs = performance.now();
    plane.wantStop(run, 700);
    const exited = await plane.event(run, 'exited');
    assert.ok(performance.now() - askedAtMs >= 700, 'not before the grace is over');
    assert.equal(exited.exit_code, 137);
    assert.equal(exited.exit_signal, 'SIGKILL');
    await plane.event(run, 'released');
    assert.deepEqual(plane.kindsOf(run), [
      'running',
      'delivered',
      'signalled',
      'killed',
      'exited',
      'released',
    ]);
  }));

test('a stop without grace kills at once', () =>
  withNode(async ({ plane }) => {
    const run = plane.want(ignores);
    await ready(plane, run);
    plane.wantStop(run, 0);
    await plane.event(run, 'released');
    assert.deepEqual(plane.kindsOf(run), ['running', 'delivered', 'killed', 'exited', 'released']);
  }));

test('the signal of the order reaches the program', () =>
  withNode(async ({ plane }) => {
    const script = 'trap "exit 42" USR1; trap "exit 1" TERM; echo ready; while :; do sleep 0.05; done';
    const run = plane.want({ container: { command: ['/bin/sh', '-c', script], stop_signal: 'SIGUSR1' } });
    await ready(plane, run);
    plane.wantStop(run, 10_000);
    assert.equal((await plane.event(run, 'exited')).exit_code, 42);
  }));

test("without one the image's signal does", () =>
  withNode(async ({ plane }) => {
    await buildImage('test/usr2:1', 'FROM test/busybox:1\nSTOPSIGNAL SIGUSR2\n');
    const script = 'trap "exit 43" USR2; trap "exit 1" TERM; echo ready; while :; do sleep 0.05; done';
    const run = plane.want({ container: { image: 'test/usr2', command: ['/bin/sh', '-c', script] } });
    await ready(plane, run);
    plane.wantStop(run, 10_000);
    assert.equal((await plane.event(run, 'exited')).exit_code, 43);
  }));

test('a run that is stopped before the agent heard of it never starts', () =>
  withNode(async ({ plane }) => {
    await plane.until(() => plane.connectionCount === 1, { what: () => 'the agent' });
    const run = plane.want({
      desired: 'stop',
      stop: { grace_ms: 1000, requested_ms_ago: 0 },
      status: 'CANCELLING',
    });
    const exited = await plane.event(run, 'exited');
    await plane.event(run, 'released');
    assert.equal(exited.error?.code, 'cancelled');
    assert.deepEqual(plane.kindsOf(run), ['delivered', 'exited', 'released']);
  }));

test('a stop right after the order leaves no container, whatever it overtakes', () =>
  withNode(async ({ plane }) => {
    await plane.until(() => plane.connectionCount === 1, { what: () => 'the agent' });
    const runs = [0, 5, 30, 120].map((delayMs) => {
      const run = plane.want(honours);
      setTimeout(() => plane.wantStop(run, 300), delayMs);
      return run;
    });
    for (const run of runs) {
      await plane.event(run, 'released');
      assert.equal(await isGone(run), true);
    }
  }));

test('twenty stops at once all end, and a second stop changes nothing', () =>
  withNode(async ({ plane }) => {
    const runs = Array.from({ length: 20 }, () => plane.want(honours));
    for (const run of runs) await ready(plane, run);
    for (const run of runs) plane.wantStop(run, 60_000);
    for (const run of runs) plane.wantStop(run, 60_000);
    for (const run of runs) {
      assert.equal((await plane.event(run, 'exited', 60_000)).exit_code, 7);
      assert.equal((await plane.event(run, 'released', 60_000)).is_log_complete, true);
    }
    assert.equal(new Set(runs.flatMap((run) => plane.kindsOf(run).join())).size, 1);
  }));

test('a stop that arrives long after it was asked for still warns the program', () =>
  withNode(async ({ plane }) => {
    const run = plane.want(honours);
    await ready(plane, run);
    plane.wantStop(run, 10_000, 60_000);
    assert.equal((await plane.event(run, 'exited')).exit_code, 7);
  }));

test('the kill list removes a container, and only that it is gone is told', () =>
  withNode(async ({ plane }) => {
    const run = plane.want(ignores);
    await ready(plane, run);
    plane.kill(run);
    const { proof, steps, is_log_complete: isLogComplete } = await plane.event(run, 'released');
    assert.equal(await isGone(run), true);
    assert.deepEqual(plane.kindsOf(run), ['running', 'released']);
    assert.deepEqual(
      steps.map(({ step }) => step),
      ['killed', 'removed', 'processes_gone', 'networks_gone', 'volumes_gone'],
    );
    assert.deepEqual([proof?.processes.state, isLogComplete], ['gone', false]);
    // Named again by a stale list it does not come back.
    plane.tellAll();
    await new Promise((resolve) => setTimeout(resolve, 500));
    assert.equal(await isGone(run), true);
  }));

test('a kill of an older attempt leaves the newer one alone', () =>
  withNode(async ({ plane }) => {
    const run = plane.want({ ...honours, attempt: 2 });
    await ready(plane, run);
    plane.kill(run, 1);
    await new Promise((resolve) => setTimeout(resolve, 300));
    assert.equal(await docker('inspect', '-f', '{{.State.Running}}', containerOf(run)), 'true');
  }));

test('a stop that comes over a new connection does not wait until a slow engine has listed its containers', async () => {
  await using engine = await startEngineProxy();
  await withNode(
    async ({ plane }) => {
      const run = plane.want(ignores);
      await ready(plane, run);
      // The list for the hello passes; the one that follows the welcome is never answered.
      engine.swallow(/^GET .*\/containers\/json/, 1);
      plane.dropConnections();
      await plane.until(() => engine.swallowed.length > 0, { what: () => 'the list after the welcome' });
      assert.equal(plane.hellos.length, 2);
      plane.wantStop(run, 0);
      assert.equal(await docker('wait', containerOf(run)), '137');
      assert.equal(engine.swallowed.length, 1, 'the list was still waited for');
      engine.swallow(null);
      engine.dropSwallowed();
      await plane.event(run, 'released');
      assert.equal(await isGone(run), true);
    },
    { engineSocket: engine.socketPath },
  );
});
