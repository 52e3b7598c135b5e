// Signals past the engine: only to the first process of that very container, and never twice to kill.
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { FirstProcesses } from './first-processes.ts';

const procRoot = mkdtempSync(join(tmpdir(), 'flotilla-proc-'));
after(() => rmSync(procRoot, { recursive: true }));
const containerId = 'c0ffee'.repeat(10);

/** A machine where process 100 is of the container, under cgroup v1 or v2, and 200 is of another. */
function aMachine(cgroups = `0::/system.slice/docker-${containerId}.scope\n`) {
  for (const [pid, text] of [
    [100, cgroups],
    [200, '12:pids:/docker/deadbeef\n0::/\n'],
  ] as const) {
    mkdirSync(join(procRoot, String(pid)), { recursive: true });
    writeFileSync(join(procRoot, String(pid), 'cgroup'), text);
  }
  const sent: [pid: number, signal: number][] = [];
  const processes = new FirstProcesses({ procRoot, kill: (pid, signal) => void sent.push([pid, signal]) });
  return { processes, sent };
}

for (const cgroups of [undefined, `4:memory:/docker/${containerId}\n3:cpu:/docker/${containerId}\n0::/\n`]) {
  test(`a signal reaches the first process (cgroup ${cgroups === undefined ? 'v2' : 'v1'})`, () => {
    const { processes, sent } = aMachine(cgroups);
    processes.note(containerId, 100);
    for (const name of ['SIGTERM', 'TERM', 'sigint', '12', 'USR1'])
      assert.equal(processes.signal(containerId, name), true);
    assert.deepEqual(
      sent,
      [15, 15, 2, 12, 10].map((signal) => [100, signal]),
    );
  });
}

test('a container that is not known, ended, or lives elsewhere is the engine’s', () => {
  const { processes, sent } = aMachine();
  assert.equal(processes.signal(containerId, 'SIGTERM'), false);
  for (const pid of [0, 1, 300, 200]) {
    processes.note(containerId, 100);
    processes.note(containerId, pid);
    assert.equal(processes.signal(containerId, 'SIGTERM'), false, `process ${pid}`);
  }
  assert.deepEqual(sent, []);
});

test('a signal that this machine has no number for is the engine’s', () => {
  const { processes, sent } = aMachine();
  processes.note(containerId, 100);
  for (const name of ['SIGRTMIN+3', 'SIGNOTHING', '', '0', '-9', '999'])
    assert.equal(processes.signal(containerId, name), false);
  assert.deepEqual(sent, []);
});

test('KILL goes past the engine once; who survives it is the engine’s', () => {
  const { processes, sent } = aMachine();
  processes.note(containerId, 100);
  assert.equal(processes.signal(containerId, 'SIGKILL'), true);
  assert.equal(processes.signal(containerId, 'SIGKILL'), false);
  assert.deepEqual(sent, [[100, 9]]);
});

test('a process that may not be signalled is the engine’s', () => {
  const { processes } = aMachine();
  const refused = new FirstProcesses({
    procRoot,
    kill: () => {
      throw new Error('EPERM');
    },
  });
  for (const its of [processes, refused]) its.note(containerId, 100);
  assert.equal(processes.signal(containerId, 'SIGTERM'), true);
  assert.equal(refused.signal(containerId, 'SIGTERM'), false);
});
