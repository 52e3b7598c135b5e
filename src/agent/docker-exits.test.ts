// Which exit code stands: the one that the engine told when it happened.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readContainerEvent, SeenExits } from './docker-exits.ts';
import type { ContainerState } from './runtime.ts';

const exited: ContainerState = {
  containerId: 'c1',
  imageId: 'i1',
  state: 'exited',
  startedAtMs: 1,
  endedAtMs: 2,
  exitCode: 0,
  isOomKilled: false,
  stopSignal: 'SIGTERM',
};

function event(action: string, attributes: Record<string, string>, id = 'c1'): string {
  return JSON.stringify({
    Action: action,
    Actor: { ID: id, Attributes: { 'flotilla.run': 'r1', ...attributes } },
  });
}

function seen(...lines: string[]): SeenExits {
  const exits = new SeenExits();
  for (const line of lines) {
    const read = readContainerEvent(line);
    assert.ok(read);
    exits.note(read);
  }
  return exits;
}

test('an engine that came back with another exit code is not believed', () => {
  const exits = seen(event('start', {}), event('die', { exitCode: '95' }), event('die', { exitCode: '255' }));
  assert.equal(exits.correct(exited).exitCode, 95);
  assert.equal(exits.correct({ ...exited, containerId: 'c2' }).exitCode, 0);
  assert.equal(exits.correct({ ...exited, state: 'running', exitCode: null }).exitCode, null);
});

test('without an event the engine is believed', () => {
  assert.equal(seen(event('start', {}), event('die', {})).correct(exited).exitCode, 0);
});

test('events of other containers and broken lines are none of ours', () => {
  assert.equal(readContainerEvent('{"Actor":{"ID":"c1","Attributes":{}}}'), null);
  assert.equal(readContainerEvent('{'), null);
});

test('what is kept of ended containers has a bound', () => {
  const lines = Array.from({ length: 1_001 }, (_, index) => event('die', { exitCode: '7' }, `c${index}`));
  const exits = seen(...lines);
  assert.equal(exits.correct({ ...exited, containerId: 'c0' }).exitCode, 0);
  assert.equal(exits.correct({ ...exited, containerId: 'c1000' }).exitCode, 7);
});
