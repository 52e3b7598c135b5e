// Signals of a stop go to the container's first process, past the engine, and by the engine where that cannot be.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type ControlPlane, shell } from './support/control-plane.ts';
import { containerOf, docker, withNode } from './support/node.ts';

const ignores = shell('trap "" TERM; trap "echo hup" HUP; echo ready; while :; do sleep 0.05; done');

async function ready(plane: ControlPlane, run: string): Promise<void> {
  await plane.event(run, 'running');
  await plane.until(() => plane.logOf(run).includes('ready'), { what: () => 'the program to be ready' });
}

/** The engine's own words for what happened to the container. */
async function actionsOf(run: string): Promise<string[]> {
  const now = String(Math.ceil(Date.now() / 1000) + 1);
  const filter = `container=${containerOf(run)}`;
  const text = await docker(
    'events',
    '--since',
    '0',
    '--until',
    now,
    '--filter',
    filter,
    '--format',
    '{{.Action}}',
  );
  return text.split('\n').filter((action) => ['kill', 'die'].includes(action));
}

test('stop signal and KILL need no engine', () =>
  withNode(async ({ plane }) => {
    const run = plane.want(ignores);
    await ready(plane, run);
    plane.wantStop(run, 300);
    const { exit_code, exit_signal } = await plane.event(run, 'exited');
    assert.deepEqual([exit_code, exit_signal], [137, 'SIGKILL']);
    await plane.event(run, 'released');
    assert.deepEqual(await actionsOf(run), ['die']);
  }));

test('a signal without a number here goes by the engine', () =>
  withNode(async ({ plane }) => {
    const run = plane.want({ container: { ...ignores.container, stop_signal: 'SIGRTMIN+3' } });
    await ready(plane, run);
    plane.wantStop(run, 5_000);
    // Real-time signals end a program that does not know them.
    assert.equal((await plane.event(run, 'exited')).exit_code, 128 + 37);
    await plane.event(run, 'released');
    assert.equal((await actionsOf(run))[0], 'kill');
  }));

test('a paused container, which no signal wakes, is gone all the same', () =>
  withNode(async ({ plane }) => {
    const run = plane.want(ignores);
    await ready(plane, run);
    await docker('pause', containerOf(run));
    plane.wantStop(run, 0);
    await plane.event(run, 'released');
  }));
