// Image references: registry ports are not tags, digests and typing errors are refused with a reason.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseImageReference } from './image-reference.ts';

test('splits image and tag', () => {
  const cases: [string, string, string][] = [
    ['busybox', 'busybox', 'latest'],
    ['busybox:1.36', 'busybox', '1.36'],
    ['library/busybox:stable-musl', 'library/busybox', 'stable-musl'],
    ['localhost/tool', 'localhost/tool', 'latest'],
    ['localhost:5000/tool', 'localhost:5000/tool', 'latest'],
    ['host:5000/a/b', 'host:5000/a/b', 'latest'],
    ['host:5000/a/b:2', 'host:5000/a/b', '2'],
    ['registry.example.com/team/app_x:V1', 'registry.example.com/team/app_x', 'V1'],
    ['[::1]:5000/a:b', '[::1]:5000/a', 'b'],
  ];
  for (const [text, image, tag] of cases) assert.deepEqual(parseImageReference(text), { image, tag }, text);
});

test('refuses digests by name', () => {
  assert.throws(() => parseImageReference(`busybox@sha256:${'0'.repeat(64)}`), /names a digest.*IMAGE:TAG/);
  assert.throws(() => parseImageReference('busybox:1@sha256:00'), /names a digest/);
});

test('refuses what no registry would know', () => {
  for (const text of ['', 'Busybox', 'a b', '/a', 'a/', 'a//b', '-a', 'host:port/a']) {
    assert.throws(() => parseImageReference(text), /is not an image/, text);
  }
  for (const text of ['a:', 'a:b:c', 'a:-x', `a:${'x'.repeat(129)}`]) {
    assert.throws(() => parseImageReference(text), /is not a tag/, text);
  }
});
