// Which server a node dials next, and after how long.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type ServerEnding, Servers } from './servers.ts';

const three = ['http://a', 'http://b', 'http://c'];
const failed = { wasWelcome: false };
const worked = { wasWelcome: true };

/** The servers dialled and the waits before them. */
function dialled(servers: Servers, endings: readonly ServerEnding[]): [string, number][] {
  return endings.map((ending) => {
    const waitMs = servers.turn(ending, failed);
    return [servers.current, waitMs];
  });
}

test('one server is tried again and again, ever later', () => {
  const servers = new Servers(['http://a'], () => 0.9);
  const waits = dialled(servers, Array(6).fill('lost')).map(([, waitMs]) => waitMs);
  assert.deepEqual(waits, [400, 800, 1_600, 3_200, 5_000, 5_000]);
  assert.equal(servers.turn('lost', worked), 200, 'a lost connection is no failed try');
  assert.equal(servers.turn('refused', failed), 30_000);
});

test('of several the next one is tried at once; a long wait comes after all of them', () => {
  const servers = new Servers(three, () => 0);
  assert.equal(servers.current, 'http://a');
  assert.deepEqual(dialled(servers, ['lost', 'lost', 'lost', 'lost', 'lost', 'lost']), [
    ['http://b', 200],
    ['http://c', 200],
    ['http://a', 400],
    ['http://b', 200],
    ['http://c', 200],
    ['http://a', 800],
  ]);
  assert.equal(servers.turn('lost', worked), 200);
  assert.equal(servers.current, 'http://b');
});

test('only the refusal of all is waited out, since one may be wrong about itself', () => {
  const servers = new Servers(three, () => 0);
  assert.deepEqual(dialled(servers, ['refused', 'refused', 'lost', 'refused', 'refused', 'refused']), [
    ['http://b', 200],
    ['http://c', 200],
    ['http://a', 400],
    ['http://b', 200],
    ['http://c', 200],
    ['http://a', 30_000],
  ]);
});

test('a server that asks for it is dialled again', () => {
  const servers = new Servers(three, () => 0.5);
  assert.equal(servers.current, 'http://b');
  servers.turn('again', worked);
  assert.equal(servers.current, 'http://b');
  assert.deepEqual(servers.all, ['http://b', 'http://c', 'http://a']);
});

test('nodes begin with different servers', () => {
  const first = [0, 0.34, 0.67, 0.999, 1].map((random) => new Servers(three, () => random).current);
  assert.deepEqual(first, ['http://a', 'http://b', 'http://c', 'http://c', 'http://a']);
});
