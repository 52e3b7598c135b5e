// Where a volume may be mounted and where not, each refusal at the field that is wrong.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { mountPath, volumeIssues } from './volume-rules.ts';

const pathsOf = (...volumes: Record<string, unknown>[]) =>
  volumeIssues(
    volumes.map((volume) => ({ image: 'team/files', ...volume })),
    'volumes',
  ).map(({ path }) => path);

test('a volume is mounted at an absolute path below the root', () => {
  for (const mount of [
    '/data',
    '/data/',
    '/a//b',
    '/models/llama 3',
    '/etc',
    '/device',
    '/procs',
    '/..data',
  ]) {
    assert.deepEqual(pathsOf({ mount }), [], mount);
  }
});

test('refused: paths that are no place for a volume', () => {
  for (const mount of [
    '',
    'data',
    './data',
    '/',
    '//',
    '/a/../b',
    '/..',
    '/a/.',
    '/proc',
    '/proc/1',
    '/sys/fs/cgroup',
    '/dev/shm',
    '//dev',
    '/etc/hosts',
    '/a\0b',
    `/${'a'.repeat(1024)}`,
  ]) {
    assert.deepEqual(pathsOf({ mount }), ['volumes[0].mount'], mount);
  }
});

test('refused: two volumes at one path, however it is written', () => {
  assert.deepEqual(pathsOf({ mount: '/data' }, { mount: '/other' }, { mount: '/data//' }), [
    'volumes[2].mount',
  ]);
});

test('refused: images, hosts and credentials, as for the container itself', () => {
  assert.deepEqual(pathsOf({ mount: '/a', image: 'UPPER' }), ['volumes[0].image']);
  assert.deepEqual(pathsOf({ mount: '/a', tag: 'no space' }), ['volumes[0].tag']);
  assert.deepEqual(pathsOf({ mount: '/a', registry: 'https://x' }), ['volumes[0].registry']);
  assert.deepEqual(pathsOf({ mount: '/a', secret: 's' }), ['volumes[0].user']);
  assert.deepEqual(pathsOf({ mount: '/a', user: 'u', secret: '***' }), ['volumes[0].secret']);
});

test('a mount is kept in one form', () => {
  assert.deepEqual(['/a//b/', '//a', '/a'].map(mountPath), ['/a/b', '/a', '/a']);
});
