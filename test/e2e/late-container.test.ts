// A container that appears after its run's end was proved, as a create still under way in the engine can: it goes too.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { containersOf, docker, needsDocker } from './support/docker.ts';
import { eventually } from './support/eventually.ts';
import { aScript, createPlace, untilStatus } from './support/place.ts';

test('a container of a run that is over is removed when it is found', needsDocker, async () => {
  const place = createPlace();
  try {
    await place.server();
    await place.node();
    const client = place.client();
    const { uuid } = await client.jobs.create(aScript('sleep 600'));
    await untilStatus(client, uuid, 'RUNNING');
    const [container] = await containersOf(uuid);
    assert.ok(container);
    const labels = JSON.parse(await docker('inspect', container.id, '--format', '{{json .Config.Labels}}'));
    const stopped = await client.jobs.cancel(uuid, { wait_ms: 20_000, stop_grace_ms: 0 });
    assert.equal(stopped.teardown?.state, 'verified');
    const flags = Object.entries(labels).flatMap(([name, value]) => ['--label', `${name}=${value}`]);
    await docker('create', '--name', `flotilla-${container.runUuid}`, ...flags, 'busybox', 'true');
    assert.equal((await containersOf(uuid)).length, 1, 'it is there before it is found');
    await eventually('its removal', async () => (await containersOf(uuid)).length === 0, 15_000);
  } finally {
    await place.remove();
  }
});
