// Prepaid accounts: nobody is stopped with credit left, nobody goes on without, and the warning comes in between.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decideCredit, hoursLeft } from './credit.ts';

const uses = fc.record({
  availableMicros: fc.integer({ min: -1e9, max: 1e9 }),
  rateMicros: fc.integer({ min: 0, max: 1e8 }),
  graceMicros: fc.integer({ min: 0, max: 1e6 }),
});

test('what costs nothing goes on, and what costs stops exactly when no more than its stop is left', () => {
  fc.assert(
    fc.property(uses, (use) => {
      const isStopped = decideCredit(use) === 'stop';
      assert.equal(isStopped, use.rateMicros > 0 && use.availableMicros <= use.graceMicros);
    }),
  );
});

test('as credit runs out the decisions come in their order, and never go back', () => {
  const rank = { go_on: 0, warn: 1, stop: 2 };
  fc.assert(
    fc.property(uses, fc.integer({ min: 0, max: 1e9 }), (use, spent) => {
      const later = { ...use, availableMicros: use.availableMicros - spent };
      assert.ok(rank[decideCredit(later)] >= rank[decideCredit(use)]);
      assert.ok((hoursLeft(later) ?? 0) <= (hoursLeft(use) ?? 0));
    }),
  );
});

test('an account is warned when its credit does not last an hour', () => {
  const use = { availableMicros: 1_000_001, rateMicros: 1_000_000, graceMicros: 3_000 };
  assert.equal(decideCredit(use), 'go_on');
  assert.equal(decideCredit({ ...use, availableMicros: 999_999 }), 'warn');
  assert.equal(hoursLeft({ ...use, availableMicros: 500_000 }), 0.5);
});
