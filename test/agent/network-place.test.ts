// A container's place on the network is taken away by force, however often that is asked for.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { DockerRuntime } from '../../src/agent/docker.ts';

const run = promisify(execFile);

async function docker(...args: string[]): Promise<string> {
  const { stdout } = await run('docker', args, { timeout: 30_000 });
  return stdout.trim();
}

const placesOnBridge = () => docker('network', 'inspect', 'bridge', '--format', '{{json .Containers}}');

test('a container leaves the network by force, and one that is not there has left it', async () => {
  const runtime = new DockerRuntime(null);
  const id = await docker('run', '-d', 'test/busybox:1', 'sleep', '60');
  try {
    assert.ok((await placesOnBridge()).includes(id));
    assert.equal(await runtime.leaveNetwork(id), true);
    assert.ok(!(await placesOnBridge()).includes(id));
    assert.equal(await runtime.leaveNetwork(id), true);
  } finally {
    await docker('rm', '-f', id);
  }
});
