// Deadlines against a plain list, over random sets, deletes and clocks.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { AssignDeadlines } from './assign-deadlines.ts';

test('what is due is what a plain list says, whatever was set, moved and deleted before', () => {
  const baseMs = 1_700_000_000_000;
  const job = fc.nat(8).map((number) => `job-${number}`);
  const anyMove = fc.oneof(
    fc.record({ kind: fc.constant('set' as const), job, afterMs: fc.integer({ min: -20_000, max: 20_000 }) }),
    fc.record({ kind: fc.constant('delete' as const), job }),
    fc.record({ kind: fc.constant('look' as const), waitMs: fc.nat(4000) }),
  );
  fc.assert(
    fc.property(fc.array(anyMove, { maxLength: 80 }), (moves) => {
      const deadlines = new AssignDeadlines();
      const list = new Map<string, number>();
      let nowMs = baseMs;
      for (const move of moves) {
        if (move.kind === 'set') {
          deadlines.set(move.job, nowMs + move.afterMs);
          list.set(move.job, nowMs + move.afterMs);
        } else if (move.kind === 'delete') {
          deadlines.delete(move.job);
          list.delete(move.job);
        } else {
          nowMs += move.waitMs;
          const expected = [...list].filter(([, atMs]) => atMs <= nowMs).map(([id]) => id);
          assert.deepEqual(deadlines.due(nowMs).toSorted(), expected.toSorted());
        }
      }
    }),
    { numRuns: 1000 },
  );
});

test('a due job stays due until it is deleted', () => {
  const deadlines = new AssignDeadlines();
  deadlines.set('job', 5000);
  assert.deepEqual(deadlines.due(4999), []);
  assert.deepEqual(deadlines.due(5000), ['job']);
  assert.deepEqual(deadlines.due(90_000), ['job']);
  deadlines.delete('job');
  assert.deepEqual(deadlines.due(90_000), []);
});
