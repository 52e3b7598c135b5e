// Who may use an image that is on the node, which go first when space is short, and what a reference names.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  type CachedImage,
  imagesToRemove,
  type LocalImage,
  mustAskRegistry,
  type PullMemory,
} from './image-policy.ts';
import { fullReference, registryOf } from './image-reference.ts';

const pulled = { imageId: 'sha256:a', isFromRegistry: true };
const imported = { imageId: 'sha256:a', isFromRegistry: false };
const publicly = { imageId: 'sha256:a', isPrivate: false };
const privately = { imageId: 'sha256:a', isPrivate: true };

test('credentials are put to the registry whatever is on the node', () => {
  for (const local of [null, pulled, imported]) {
    for (const memory of [null, publicly, privately]) {
      assert.equal(mustAskRegistry(local, { hasCredentials: true, memory }), true);
    }
  }
});

test('without credentials an image is used unasked unless it came with credentials', () => {
  const ask = (local: LocalImage | null, memory: PullMemory | null) =>
    mustAskRegistry(local, { hasCredentials: false, memory });
  assert.equal(ask(null, null), true);
  assert.equal(ask(pulled, null), false);
  assert.equal(ask(pulled, publicly), false);
  assert.equal(ask(pulled, privately), true);
  assert.equal(ask(pulled, { imageId: null, isPrivate: true }), true);
  assert.equal(ask(pulled, { imageId: 'sha256:other', isPrivate: true }), false);
  assert.equal(ask(imported, null), false);
});

const images = fc
  .array(
    fc.record({
      imageId: fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f'),
      lastUsedAtMs: fc.integer({ min: 0, max: 1000 }),
    }),
    { maxLength: 12 },
  )
  .map((list): CachedImage[] =>
    list.map((image, index) => ({
      ...image,
      key: `name-${index}`,
      sizeBytes: image.imageId.charCodeAt(0) * 10,
    })),
  );

test('removal stops as soon as the rest fits, spares what is needed and takes the oldest first', () => {
  const needs = fc.subarray(['a', 'b', 'c', 'd', 'e', 'f']);
  fc.assert(
    fc.property(images, needs, fc.integer({ min: 0, max: 6000 }), (cached, neededIds, capBytes) => {
      const needed = new Set(neededIds);
      const removed = new Set(imagesToRemove(cached, { capBytes, needed }));
      const gone = new Set(cached.filter(({ key }) => removed.has(key)).map(({ imageId }) => imageId));
      const kept = cached.filter(({ key }) => !removed.has(key));
      for (const imageId of gone) assert.equal(needed.has(imageId), false);
      for (const { imageId } of kept) assert.equal(gone.has(imageId), false, 'all names of an image or none');
      const bytesOf = (list: CachedImage[]) =>
        [...new Map(list.map((image) => [image.imageId, image.sizeBytes])).values()].reduce(
          (a, b) => a + b,
          0,
        );
      const lastUse = (id: string) =>
        Math.max(...cached.filter(({ imageId }) => imageId === id).map(({ lastUsedAtMs }) => lastUsedAtMs));
      const removable = [...new Set(kept.map(({ imageId }) => imageId))].filter((id) => !needed.has(id));
      if (bytesOf(kept) > capBytes) assert.deepEqual(removable, []);
      for (const goneId of gone)
        for (const keptId of removable) assert.ok(lastUse(goneId) <= lastUse(keptId));
      const newest = [...gone].sort((a, b) => lastUse(a) - lastUse(b)).at(-1);
      if (newest === undefined) return;
      const spare = cached.find(({ imageId }) => imageId === newest);
      assert.ok(bytesOf(kept) + (spare?.sizeBytes ?? 0) > capBytes, 'the last one had to go');
    }),
  );
});

test('a reference names its registry, and never an image id', () => {
  assert.equal(fullReference('busybox:1'), 'docker.io/library/busybox:1');
  assert.equal(fullReference('test/busybox:1'), 'docker.io/test/busybox:1');
  assert.equal(fullReference('docker.io/busybox:1'), 'docker.io/library/busybox:1');
  assert.equal(fullReference('index.docker.io/team/app:1'), 'docker.io/team/app:1');
  assert.equal(fullReference('127.0.0.1:5000/a/b:1'), '127.0.0.1:5000/a/b:1');
  assert.equal(fullReference('localhost/a:1'), 'localhost/a:1');
  const id = `sha256:${'0123456789abcdef'.repeat(4)}`;
  assert.equal(fullReference(id), `docker.io/library/${id}`);
  assert.equal(registryOf('ghcr.io/owner/name:2'), 'ghcr.io');
  assert.equal(registryOf('team/name:2'), 'docker.io');
});
