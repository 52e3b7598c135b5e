// Processes of a cgroup counted and killed, in a real hierarchy of version 2, without any engine.
import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Cgroups } from './cgroup.ts';

const containerId = 'c0ffee00'.repeat(8);

/** A mount of the version 2 hierarchy with a folder as an engine makes it; null where this user may not mount. */
function aHierarchy(): (Disposable & { root: string; folder: string }) | null {
  const root = mkdtempSync(join(tmpdir(), 'flotilla-cgroup-'));
  try {
    execFileSync('mount', ['-t', 'cgroup2', 'none', root], { stdio: 'ignore' });
  } catch {
    rmdirSync(root);
    return null;
  }
  const place = join(root, 'flotilla-test.slice');
  const folder = join(place, `docker-${containerId}.scope`);
  mkdirSync(join(folder, 'inner'), { recursive: true });
  return {
    ...{ root, folder },
    [Symbol.dispose]() {
      for (const path of [join(folder, 'inner'), folder, place]) rmdirSync(path);
      execFileSync('umount', [root]);
      rmdirSync(root);
    },
  };
}

function aProcessIn(folder: string): ChildProcess {
  const child = spawn('sleep', ['60'], { stdio: 'ignore' });
  writeFileSync(join(folder, 'cgroup.procs'), String(child.pid));
  return child;
}

test('a container that was never seen is found by its name, and every process below it is killed', async (context) => {
  using place = aHierarchy();
  if (place === null) return context.skip('cgroup2 cannot be mounted here: needs root');
  const children = [aProcessIn(place.folder), aProcessIn(join(place.folder, 'inner'))];
  const ends = children.map((child) => once(child, 'exit'));
  const cgroups = new Cgroups(place.root);
  assert.equal(cgroups.hasSeenOne, false);
  assert.equal(await cgroups.kill(containerId), 0);
  assert.deepEqual(
    (await Promise.all(ends)).map(([, signal]) => signal),
    ['SIGKILL', 'SIGKILL'],
  );
});

test('what was learnt from a living container leads to others of the same engine, and to nobody else', async (context) => {
  using place = aHierarchy();
  if (place === null) return context.skip('cgroup2 cannot be mounted here: needs root');
  const cgroups = new Cgroups(place.root);
  const child = aProcessIn(place.folder);
  const end = once(child, 'exit');
  await cgroups.learn(containerId, child.pid ?? 0);
  assert.equal(cgroups.hasSeenOne, true);
  assert.equal(await cgroups.kill('deadbeef'.repeat(8)), 0);
  assert.equal(child.signalCode, null);
  assert.equal(await cgroups.kill(containerId), 0);
  await end;
  // Gone from there: nothing is left to count.
  assert.equal(await cgroups.kill(containerId), 0);
});
