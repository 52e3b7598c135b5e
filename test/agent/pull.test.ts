// Pulling from a registry: progress, refusal, absence, and a stop in the middle of it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { docker, isGone, withNode } from './support/node.ts';
import { FakeRegistry } from './support/registry.ts';

test('a stop while an image is pulled ends the pull at once', async () => {
  const registry = await new FakeRegistry({}).listen();
  try {
    await withNode(async ({ plane }) => {
      const run = plane.want({ container: { image: 'stalled/app', tag: '1', registry_host: registry.host } });
      await plane.event(run, 'preparing');
      await registry.untilBlobAsked();
      plane.wantStop(run, 60_000);
      const exited = await plane.event(run, 'exited', 5_000);
      await plane.event(run, 'released', 5_000);
      assert.equal(exited.error?.code, 'cancelled');
      assert.equal(await isGone(run), true);
    });
  } finally {
    await registry.close();
  }
});

test('bytes that come are told while they come', async () => {
  const registry = await new FakeRegistry({ isSlow: true }).listen();
  try {
    await withNode(async ({ plane }) => {
      const run = plane.want({ container: { image: 'slow/app', tag: '1', registry_host: registry.host } });
      await plane.until(
        () =>
          plane
            .run(run)
            .events.some(
              ({ event }) => event.kind === 'preparing' && (event.progress?.received_bytes ?? 0) > 0,
            ),
        { what: () => 'progress' },
      );
      const told = plane
        .run(run)
        .events.flatMap(({ event }) => (event.kind === 'preparing' ? [event.progress] : []));
      const last = told.at(-1);
      assert.equal(last?.phase, 'pulling');
      assert.equal(last?.total_bytes, registry.blobBytes);
      plane.wantStop(run, 0);
      await plane.event(run, 'released');
      // A layer that stalls is held by the engine until its next byte, so only a slow one shows that the pull ended.
      await registry.untilBlobDropped();
    });
  } finally {
    await registry.close();
  }
});

test('an image that the registry does not have, or does not give, is told apart', async () => {
  const registry = await new FakeRegistry({}).listen();
  const privately = await new FakeRegistry({ isPrivate: true }).listen();
  try {
    await withNode(async ({ plane }) => {
      const absent = plane.want({
        container: { image: 'absent/app', tag: '9', registry_host: registry.host },
      });
      const refused = plane.want({
        container: {
          image: 'private/app',
          tag: '1',
          registry_host: privately.host,
          registry_user: 'alice',
          registry_secret: 'wrong-password',
        },
      });
      assert.equal((await plane.event(absent, 'exited')).error?.code, 'image_not_found');
      const { error } = await plane.event(refused, 'exited');
      assert.equal(error?.code, 'pull_unauthorized');
      assert.match(
        error?.message ?? '',
        /refused image "127\.0\.0\.1:\d+\/private\/app:1"; check user and secret/,
      );
      assert.doesNotMatch(error?.message ?? '', /wrong-password/);
      assert.deepEqual(privately.users, ['alice']);
    });
  } finally {
    await privately.close();
    await registry.close();
  }
});

test('a private image is asked for again although it is on the node', async () => {
  const registry = await new FakeRegistry({ isPrivate: true }).listen();
  try {
    await docker('tag', 'test/busybox:1', `${registry.host}/private/app:1`);
    await withNode(async ({ plane }) => {
      const container = {
        image: 'private/app',
        tag: '1',
        registry_host: registry.host,
        registry_user: 'mallory',
        registry_secret: 'wrong-password',
      };
      const run = plane.want({ container });
      assert.equal((await plane.event(run, 'exited')).error?.code, 'pull_unauthorized');
    });
  } finally {
    await docker('rmi', `${registry.host}/private/app:1`);
    await registry.close();
  }
});
