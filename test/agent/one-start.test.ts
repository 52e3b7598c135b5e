// A container is started once, also where the agent never learned what became of its start.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { shell } from './support/control-plane.ts';
import { startEngineProxy } from './support/engine-proxy.ts';
import { containerOf, docker, isGone, withNode } from './support/node.ts';

const limitMs = 60_000;

test('a container that is removed before its start was seen is told as disappeared, and not started again', async () => {
  await using engine = await startEngineProxy();
  await withNode(
    async ({ plane }) => {
      engine.swallow(/^GET .*\/containers\/[0-9a-f]{64}\/json/);
      const run = plane.want(shell('echo ran; sleep 60'));
      await plane.until(() => engine.swallowed.length > 0, {
        limitMs,
        what: () => 'the look at the container',
      });
      const created = await docker('inspect', '-f', '{{.State.Running}} {{.Id}}', containerOf(run));
      assert.match(created, /^true /);
      await docker('rm', '-f', containerOf(run));
      engine.swallow(null);
      const exited = await plane.event(run, 'exited', limitMs);
      assert.equal(exited.error?.code, 'container_disappeared');
      await plane.event(run, 'released', limitMs);
      await delay(1_000);
      assert.equal(plane.kindsOf(run).includes('running'), false);
      assert.equal(await isGone(run), true);
    },
    { engineSocket: engine.socketPath },
  );
});
