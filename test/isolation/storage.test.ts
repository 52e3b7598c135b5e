// A run that fills the node's disk: by its layer, by its volumes and by its log.
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmdirSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { DockerRuntime } from '../../src/agent/docker.ts';
import { endOf } from '../../src/domain/run-end.ts';
import { type RunOptions, shell } from '../agent/support/control-plane.ts';
import { buildImage, containerOf, docker, inspect, withNode } from '../agent/support/node.ts';
import { tool } from './support/lab.ts';

/** What a node of 64 MiB of storage gives a run: all of it. */
const smallDisk = mkdtempSync(join(tmpdir(), 'flotilla-disk-'));

class SmallDiskEngine extends DockerRuntime {
  override async describe() {
    return { ...(await super.describe()), dataRoot: smallDisk };
  }
}

before(async () => {
  tool('mount', '-t', 'tmpfs', '-o', 'size=64m', 'none', smallDisk);
  await buildImage('test/volume:1', 'FROM test/busybox:1\nVOLUME /volume');
});

after(() => {
  tool('umount', smallDisk);
  rmdirSync(smallDisk);
});

const never = 3_600_000;

function filler(folder: string, options: RunOptions = {}): RunOptions {
  const { container } = shell(`dd if=/dev/zero of=${folder}/fill bs=1M count=100; sleep 4; echo survived`);
  return { ...options, container: { ...container, image: 'test/volume', tag: '1' } };
}

test('a run may fill the disk while nobody measures', () =>
  withNode(
    async ({ plane }) => {
      const run = plane.want(filler(''));
      assert.equal((await plane.event(run, 'exited')).exit_code, 0);
    },
    { runtime: new SmallDiskEngine(null), storageEveryMs: never },
  ));

test('a run that fills its layer or a volume is stopped and fails with storage_exceeded', () =>
  withNode(
    async ({ plane }) => {
      const byLayer = plane.want(filler(''));
      const byVolume = plane.want(filler('/volume'));
      const reserved = plane.want(filler('', { storage_bytes: 200_000_000 }));
      for (const run of [byLayer, byVolume]) {
        const exited = await plane.event(run, 'exited');
        assert.equal(exited.error?.code, 'storage_exceeded');
        assert.match(
          exited.error?.message ?? '',
          /^The job run filled 0\.\d{3} GB of disk and may fill 0\.067 GB on this node; .* min_storage_gb\.$/,
        );
        assert.equal(exited.exit_signal, 'SIGTERM');
        await plane.event(run, 'released');
        assert.doesNotMatch(plane.logOf(run), /survived/);
        const told = endOf({
          exitCode: exited.exit_code,
          exitSignal: exited.exit_signal,
          isOomKilled: exited.is_oom_killed,
          endedAtMs: 0,
          error: exited.error,
          lastLogLines: exited.last_log_lines,
        });
        assert.deepEqual([told.status, told.detail.code], ['FAILED', 'storage_exceeded']);
      }
      assert.equal((await plane.event(reserved, 'exited')).exit_code, 0, 'what was reserved may be filled');
    },
    { runtime: new SmallDiskEngine(null), storageEveryMs: 500 },
  ));

/** 110 MB of lines of 1,000 bytes, then a sign that they are written. */
const flood =
  'line=$(head -c 999 /dev/zero | tr "\\0" x); yes "$line" | head -c 110000000; touch /tmp/done; sleep 60';

async function logBytes(container: string): Promise<number> {
  while (true) {
    const isDone = await docker('exec', container, 'test', '-f', '/tmp/done').then(
      () => true,
      () => false,
    );
    if (isDone) break;
    await delay(300);
  }
  const { LogPath } = (await inspect(container)) as unknown as { LogPath: string };
  const folder = dirname(LogPath);
  const files = readdirSync(folder).filter((file) => file.includes('-json.log'));
  return files.reduce((sum, file) => sum + statSync(join(folder, file)).size, 0);
}

test('a log flood fills the disk of a plain container, and less than 100 MB in a run', () =>
  withNode(async ({ plane }) => {
    await docker('run', '-d', '--name', 'flood', 'test/busybox:1', '/bin/sh', '-c', flood);
    const run = plane.want(shell(flood));
    await plane.event(run, 'running');
    const [plainBytes, bytes] = await Promise.all([logBytes('flood'), logBytes(containerOf(run))]);
    await docker('rm', '-f', 'flood');
    assert.ok(plainBytes > 110e6, `${plainBytes} bytes of log`);
    assert.ok(bytes < 100e6, `${bytes} bytes of log`);
    assert.ok(bytes > 32e6, 'more than is kept of a run lies on the node');
    plane.kill(run);
  }));
