// The audit bites: evidence that is in order has no finding, and each disorder has one.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { auditTruth, auditTwice } from './audit-containers.ts';
import { auditEnds, auditJobs } from './audit-database.ts';
import type { Evidence, RunRow } from './findings.ts';
import type { ChaosNode } from './node.ts';
import { outputProblem, type Program } from './programs.ts';
import { createRandom } from './random.ts';
import type { ContainerLife } from './watcher.ts';

// Only what the audit reads of a node.
const node = { number: 1, uuid: 'node-1', name: 'node-1' } as ChaosNode;
const program: Program = {
  kind: 'short',
  exitCode: 0,
  lineCount: 2,
  body: { parameters: { type: 'docker', parameters: { image: 'busybox' } } },
};

function aRun(wish: Partial<RunRow> = {}): RunRow {
  return {
    id: 'run-1',
    job_id: 'job-1',
    node_id: 'node-1',
    attempt: 1,
    status: 'COMPLETED',
    desired: 'run',
    exit_code: 0,
    started_at: 1_000,
    ended_at: 2_000,
    released_at: 2_500,
    teardown_state: null,
    is_fenced: false,
    is_log_complete: true,
    code: 'completed',
    reason: null,
    ...wish,
  };
}

function aLife(wish: Partial<ContainerLife> = {}): ContainerLife {
  return {
    id: 'container-1',
    node,
    jobUuid: 'job-1',
    runUuid: 'run-1',
    attempt: 1,
    startedAtMs: 1_000,
    diedAtMs: 2_000,
    exitCode: 0,
    isGone: true,
    seenRunningAtMs: 1_500,
    ...wish,
  };
}

function evidence(wish: Partial<Evidence> = {}): Evidence {
  return {
    jobs: new Map([['job-1', { id: 'job-1', status: 'COMPLETED', completed_at: 2_000 }]]),
    runs: [aRun()],
    acknowledged: new Map([['job-1', { uuid: 'job-1', program, told: null, stoppedAtMs: null }]]),
    lives: [aLife()],
    faults: [],
    nodes: [node],
    ...wish,
  };
}

function kindsOf(given: Evidence): string[] {
  const findings = [auditJobs, auditEnds, auditTwice, auditTruth].flatMap((audit) => audit(given));
  return findings.map(({ kind }) => kind);
}

test('evidence in order has no finding', () => {
  assert.deepEqual(kindsOf(evidence()), []);
});

test('each disorder is found', () => {
  const later = aLife({ id: 'container-2', runUuid: 'run-2', startedAtMs: 1_800, diedAtMs: 3_000 });
  const secondRun = aRun({ id: 'run-2', attempt: 2, released_at: 4_000 });
  const told = { uuid: 'job-1', program, told: { status: 'CANCELLED' as const, atMs: 1 }, stoppedAtMs: 1 };
  const disorders: [Partial<Evidence>, string[]][] = [
    [{ jobs: new Map() }, ['lost']],
    [{ acknowledged: new Map([['job-1', told]]) }, ['changed']],
    [{ jobs: new Map([['job-1', { id: 'job-1', status: 'RUNNING', completed_at: null }]]) }, ['stuck']],
    [{ runs: [aRun({ released_at: null })] }, ['leaked']],
    [{ runs: [aRun({ status: 'CANCELLING' })] }, ['stuck']],
    [{ runs: [aRun({ teardown_state: 'killed' })] }, ['stop']],
    [{ runs: [aRun(), secondRun], lives: [aLife(), later] }, ['twice']],
    [{ lives: [aLife(), aLife({ id: 'container-2', startedAtMs: 2_100, diedAtMs: 2_200 })] }, ['twice']],
    [{ lives: [aLife({ diedAtMs: 4_000 })] }, ['untrue']],
    [{ lives: [aLife({ exitCode: 3 })] }, ['untrue']],
    [{ lives: [] }, ['untrue']],
    [
      { runs: [aRun({ status: 'FAILED', code: 'exited', exit_code: 0 })], lives: [aLife({ exitCode: 1 })] },
      ['untrue'],
    ],
    [{ runs: [aRun({ status: 'FAILED', code: 'container_disappeared', exit_code: null })] }, ['untrue']],
  ];
  for (const [wish, kinds] of disorders)
    assert.deepEqual(kindsOf(evidence(wish)), kinds, JSON.stringify(wish));
});

test('a failure that a fault of its node explains is none, and one elsewhere explains nothing', () => {
  const runs = [aRun({ status: 'FAILED', code: 'exited', exit_code: 137 })];
  const lives = [aLife({ exitCode: 137 })];
  const fault = { kind: 'dockerd_kill' as const, fromMs: 1_500, toMs: 1_900 };
  assert.deepEqual(kindsOf(evidence({ runs, lives, faults: [{ ...fault, target: 'dockerd-1' }] })), []);
  assert.deepEqual(kindsOf(evidence({ runs, lives, faults: [{ ...fault, target: 'dockerd-2' }] })), [
    'untrue',
  ]);
});

test('output is judged line by line, to its end where it ended by itself', () => {
  const judge = (text: string, isWhole: boolean) => outputProblem(text, { program, runUuid: 'r', isWhole });
  assert.equal(judge('run r\n0\n1\nend\n', true), null);
  assert.equal(judge('run r\n0\n1', false), null);
  assert.equal(judge('', false), null);
  for (const text of ['run r\n0\n1\n', 'run r\n0\nend\n', 'run r\n1\nend\n', 'run other\n0\n1\nend\n', ''])
    assert.notEqual(judge(text, true), null, JSON.stringify(text));
  for (const text of ['run r\n0\n0\n', 'run r\n1\n', 'run r\n0\n1\nend\nmore', 'run r\n0\nx'])
    assert.notEqual(judge(text, false), null, JSON.stringify(text));
});

test('the same seed makes the same choices, another makes others', () => {
  const draw = (seed: string) => {
    const random = createRandom(seed).fork('part');
    return Array.from({ length: 20 }, () => random.integer(0, 1_000));
  };
  assert.deepEqual(draw('a'), draw('a'));
  assert.notDeepEqual(draw('a'), draw('b'));
});
