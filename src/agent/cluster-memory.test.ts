// What the agent remembers of its cluster: over restarts, with nothing written twice, and whatever the file holds.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ClusterMemory } from './cluster-memory.ts';
import type { AgentLog } from './log.ts';
import type { StateFile } from './state-file.ts';

const nothing = () => {};
const quiet: AgentLog = { debug: nothing, info: nothing, warn: nothing, error: nothing };

function aFile(content?: unknown) {
  const written: unknown[] = content === undefined ? [] : [content];
  const file: StateFile = {
    read: () => (written.length === 0 ? null : { content: structuredClone(written.at(-1)) }),
    write: (value) => void written.push(structuredClone(value)),
  };
  return { file, written };
}

test('before the first welcome it says nothing, and orders without a cluster are not kept', () => {
  const { file, written } = aFile();
  const memory = new ClusterMemory(file, quiet);
  memory.order(['a']);
  assert.deepEqual(memory.hello(), { cluster_generation: 0, last_orders: [] });
  assert.deepEqual([memory.clusterUuid, written], [null, []]);
});

test('the next life of the agent knows the generation and the runs of the last order that brought new ones', () => {
  const { file } = aFile();
  const first = new ClusterMemory(file, quiet);
  first.welcome('cluster', 1);
  first.order(['a', 'b']);
  first.order(['a', 'b', 'd', 'c']);
  first.order(['a']);
  first.order([]);
  const next = new ClusterMemory(file, quiet);
  assert.deepEqual(next.hello(), { cluster_generation: 1, last_orders: ['c', 'd'] });
  assert.equal(next.clusterUuid, 'cluster');
});

test('it is written only when there is news', () => {
  const { file, written } = aFile();
  const memory = new ClusterMemory(file, quiet);
  for (let round = 0; round < 3; round += 1) {
    memory.welcome('cluster', 1);
    memory.order(['a']);
  }
  assert.equal(written.length, 2);
});

test('the highest generation counts, and another cluster starts anew', () => {
  const { file } = aFile();
  const memory = new ClusterMemory(file, quiet);
  memory.welcome('cluster', 3);
  memory.order(['a']);
  memory.welcome('cluster', 2);
  assert.deepEqual(memory.hello(), { cluster_generation: 3, last_orders: ['a'] });
  memory.welcome('cluster', 4);
  assert.deepEqual(memory.hello(), { cluster_generation: 4, last_orders: ['a'] });
  memory.welcome('other', 1);
  assert.deepEqual(memory.hello(), { cluster_generation: 1, last_orders: [] });
});

test('of a large order the newest are kept', () => {
  const memory = new ClusterMemory(aFile().file, quiet);
  memory.welcome('cluster', 1);
  const runs = Array.from({ length: 500 }, (_, index) => `run-${String(index).padStart(3, '0')}`);
  memory.order(runs.toReversed());
  assert.deepEqual(memory.hello().last_orders, runs.slice(-200));
});

test('a file with something else in it is as none; one that cannot be written is remembered all the same', () => {
  for (const content of [[], {}, { clusterUuid: 1, generation: 'x', orders: [] }, 'text', 7, null]) {
    const memory = new ClusterMemory(aFile(content).file, quiet);
    assert.deepEqual(memory.hello(), { cluster_generation: 0, last_orders: [] });
  }
  const full: StateFile = {
    read: () => 'unreadable',
    write() {
      throw new Error('no space');
    },
  };
  const memory = new ClusterMemory(full, quiet);
  memory.welcome('cluster', 1);
  memory.order(['a']);
  assert.deepEqual(memory.hello(), { cluster_generation: 1, last_orders: ['a'] });
});
