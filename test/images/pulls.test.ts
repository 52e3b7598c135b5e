// Pulls that many wait for: one for all, ended only by the last who leaves; their progress; and images that are too many.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { ControlPlane, EventOf } from '../agent/support/control-plane.ts';
import { docker, withNode } from '../agent/support/node.ts';
import { Registry, SlowLine, secret, user } from './support/registry.ts';
import { importProgram } from './support/trees.ts';

const registry = new Registry({ isPrivate: true });
const bytes = 12_000_000;

before(async () => {
  await registry.start();
  for (const name of ['one', 'two', 'three']) {
    importProgram(`local/${name}:1`, { extraBytes: bytes });
    await registry.publish(`local/${name}:1`, `team/${name}:1`);
    await docker('rmi', `local/${name}:1`);
  }
});
after(() => registry[Symbol.asyncDispose]());

function app(host: string, name: string, command = 'true') {
  return {
    container: {
      image: `team/${name}`,
      tag: '1',
      registry_host: host,
      registry_user: user,
      registry_secret: secret,
      command: ['/bin/sh', '-c', command],
    },
  };
}

type Progress = NonNullable<EventOf<'preparing'>['progress']>;

function progressOf(plane: ControlPlane, run: string): Progress[] {
  const told = plane.run(run).events.map(({ event }) => (event.kind === 'preparing' ? event.progress : null));
  return told.filter((progress) => progress !== null);
}

async function bytesMove(plane: ControlPlane, run: string): Promise<void> {
  const isMoving = () => (progressOf(plane, run).at(-1)?.received_bytes ?? 0) > 0;
  await plane.until(isMoving, { what: () => `bytes of ${run}` });
}

async function names(): Promise<string[]> {
  return (await docker('images', '--format', '{{.Repository}}:{{.Tag}}')).split('\n');
}

test('four runs of one image pull it once; a stop of one does not end it for the others', async () => {
  await using line = await new SlowLine(registry, 7_000_000).start();
  await withNode(async ({ plane }) => {
    const layers = () => registry.requests(/"GET \/v2\/team\/one\/blobs\/.* 200 /).length;
    const runs = [1, 2, 3, 4].map(() => plane.want(app(line.host, 'one')));
    const [first = ''] = runs;
    await Promise.all(runs.map((run) => bytesMove(plane, run)));
    plane.wantStop(first, 60_000);
    const { error } = await plane.event(first, 'exited', 5_000);
    assert.equal(error?.code, 'cancelled');
    await plane.event(first, 'released', 5_000);
    for (const run of runs.slice(1)) assert.equal((await plane.event(run, 'exited')).exit_code, 0);
    // The image's configuration and its one layer.
    assert.equal(layers(), 2);

    const told = progressOf(plane, runs[1] ?? '');
    const pulling = told.filter(({ phase }) => phase === 'pulling');
    const last = pulling.at(-1);
    assert.ok(last !== undefined && last.total_bytes !== null);
    assert.ok(last.total_bytes > bytes && last.total_bytes < bytes * 1.5, `${last.total_bytes} in all`);
    const { bytes_per_second: rate, eta_ms: eta } = last;
    assert.ok(rate !== null && rate > 400_000 && rate < 40_000_000, `${rate} bytes a second`);
    assert.ok(eta !== null && eta < 60_000, `${eta} ms left`);
    const received = told.map((progress) => progress.received_bytes);
    assert.deepEqual(
      received,
      [...received].sort((a, b) => a - b),
    );
    assert.equal(told.at(-1)?.phase, 'extracting');
    assert.equal(told.at(-1)?.eta_ms, null);
  });
  await docker('rmi', '-f', `${line.host}/team/one:1`);
});

test('the last who leaves ends the pull, and who comes then begins anew', async () => {
  await using line = await new SlowLine(registry, 3_000_000).start();
  await withNode(async ({ plane }) => {
    const runs = [1, 2].map(() => plane.want(app(line.host, 'one')));
    await Promise.all(runs.map((run) => bytesMove(plane, run)));
    for (const run of runs) plane.wantStop(run, 0);
    for (const run of runs) await plane.event(run, 'released', 5_000);
    for (let tries = 0; tries < 200 && line.connectionCount > 0; tries += 1) await delay(50);
    assert.equal(line.connectionCount, 0, 'the engine lets go of the registry');
    assert.equal((await names()).includes(`${line.host}/team/one:1`), false);
    line.bytesPerSecond = 1e9;
    assert.equal((await plane.event(plane.want(app(line.host, 'one')), 'exited')).exit_code, 0);
  });
  await docker('rmi', '-f', `${line.host}/team/one:1`);
});

test('the same image with other credentials is a pull of its own', async () => {
  await using line = await new SlowLine(registry, 8_000_000).start();
  await withNode(async ({ plane }) => {
    const good = plane.want(app(line.host, 'one'));
    await bytesMove(plane, good);
    const bad = app(line.host, 'one');
    bad.container.registry_secret = 'not-this-one';
    const { error } = await plane.event(plane.want(bad), 'exited');
    assert.equal(error?.code, 'pull_unauthorized');
    assert.equal((await plane.event(good, 'exited')).exit_code, 0);
  });
  await docker('rmi', '-f', `${line.host}/team/one:1`);
});

test('over the cap the least recently used goes, what is in use or not ours stays, also after a restart', async () => {
  const stateDirectory = mkdtempSync(join(tmpdir(), 'flotilla-state-'));
  const nameOf = (name: string) => `${registry.host}/team/${name}:1`;
  const options = { stateDirectory, imageCacheBytes: 1.5 * (bytes + 2_000_000) };
  try {
    // The operator's own, larger than the cap and older than everything.
    importProgram('local/own:1', { extraBytes: 2 * bytes });
    await withNode(async ({ plane }) => {
      const used = plane.want(app(registry.host, 'one', 'sleep 60'));
      await plane.event(used, 'running');
      const second = plane.want(app(registry.host, 'two'));
      await plane.event(second, 'released');
      // Two images are over the cap: the older is in use, so the newer went once its container was gone.
      await plane.event(plane.want(app(registry.host, 'three')), 'released');
      const kept = await names();
      assert.deepEqual(
        [nameOf('one'), nameOf('two'), 'local/own:1', 'test/busybox:1'].map((name) => kept.includes(name)),
        [true, false, true, true],
      );
      plane.wantStop(used, 0);
      await plane.event(used, 'released');
    }, options);
    await withNode(async ({ plane }) => {
      await plane.event(plane.want(app(registry.host, 'two')), 'released');
      await delay(300);
      const kept = await names();
      assert.equal(kept.includes(nameOf('one')), false, 'used longest ago, by an agent that is gone');
      assert.equal(kept.includes(nameOf('two')), true);
      assert.equal(kept.includes('local/own:1'), true);
    }, options);
  } finally {
    rmSync(stateDirectory, { recursive: true, force: true });
    for (const name of ['one', 'two', 'three']) await docker('rmi', '-f', nameOf(name)).catch(() => {});
    await docker('rmi', '-f', 'local/own:1');
  }
});
