// Outages of the engine by hand: what is told of them, and which ends of containers they explain.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type ContainerEnd, EngineHealth } from './engine-health.ts';

function anEngine({ uptimeMs = Number.POSITIVE_INFINITY } = {}) {
  const time = { nowMs: 100_000 };
  const notes: (string | null)[] = [];
  const clock = { nowMs: () => time.nowMs, wallMs: () => time.nowMs, after: () => () => {} };
  const health: EngineHealth = new EngineHealth({
    clock,
    uptimeMs: () => uptimeMs,
    onChange: () => notes.push(health.note),
  });
  const end = (endedAtMs: number, more: Partial<ContainerEnd> = {}) =>
    health.explain({ exitCode: 137, isOomKilled: false, startedAtMs: 50_000, endedAtMs, ...more })?.code ??
    null;
  return { time, notes, health, end };
}

test('an outage is told once with its first reason, and its end once', () => {
  const { health, notes } = anEngine();
  health.answered();
  health.failed(new Error('connection refused'));
  health.failed(new Error('no such file'));
  health.answered();
  health.answered();
  assert.deepEqual(notes, ['connection refused', null]);
});

test('an end within the outage is the engine’s, before and after it is not', () => {
  const { health, time, end } = anEngine();
  assert.equal(end(99_000), null, 'no outage yet');
  health.brokeOff();
  time.nowMs = 103_000;
  health.failed(new Error('away'));
  time.nowMs = 112_000;
  health.answered();
  time.nowMs = 200_000;
  assert.deepEqual(
    [98_000, 100_500, 111_000, 114_000].map((atMs) => end(atMs)),
    [null, 'engine_restarted', 'engine_restarted', null],
  );
});

test('a stream that broke while the engine answers explains nothing later', () => {
  const { health, time, end } = anEngine();
  health.brokeOff();
  health.answered();
  time.nowMs = 130_000;
  assert.equal(end(120_000), null);
});

test('an engine that falls again at once is one outage', () => {
  const { health, time, end } = anEngine();
  health.failed(new Error('away'));
  time.nowMs = 105_000;
  health.answered();
  time.nowMs = 110_000;
  health.brokeOff();
  health.answered();
  assert.equal(end(102_000), 'engine_restarted');
});

test('what the program did by itself, or its memory, is not the engine’s', () => {
  const { health, time, end } = anEngine();
  health.brokeOff();
  time.nowMs = 110_000;
  health.answered();
  for (const exitCode of [0, 1, 5, 139, null]) assert.equal(end(105_000, { exitCode }), null);
  for (const exitCode of [143, 137, 255]) assert.equal(end(105_000, { exitCode }), 'engine_restarted');
  assert.equal(end(105_000, { isOomKilled: true }), null);
});

test('a container older than the machine’s uptime ended with the machine', () => {
  const { end } = anEngine({ uptimeMs: 20_000 });
  assert.equal(end(99_000, { exitCode: 255, startedAtMs: 50_000 }), 'node_restarted');
  assert.equal(end(99_000, { exitCode: 255, startedAtMs: 90_000 }), null);
  assert.equal(end(99_000, { exitCode: 3, startedAtMs: 50_000 }), null);
});
