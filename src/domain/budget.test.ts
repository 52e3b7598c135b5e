// Budgets: nothing stops early or late, every stop was warned of at its share, and what is far away is forgotten.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Budget, type BudgetUse, decideBudget, noBudget, usdText, warningShare } from './budget.ts';

const unused: BudgetUse = { spentMicros: 0, rateMicros: 0, graceMs: 0, unrenewedMs: null, idleMs: 0 };
const amount = fc.integer({ min: 1, max: 1e12 });
const budgets: fc.Arbitrary<Budget> = fc.record({
  maxCostMicros: fc.option(amount),
  renewWithinMs: fc.option(amount),
  idleTimeoutMs: fc.option(amount),
});
const uses: fc.Arbitrary<BudgetUse> = fc.record({
  spentMicros: fc.integer({ min: 0, max: 1e12 }),
  rateMicros: fc.integer({ min: 0, max: 1e9 }),
  graceMs: fc.integer({ min: 0, max: 300_000 }),
  unrenewedMs: fc.option(fc.integer({ min: -1e9, max: 1e12 })),
  idleMs: fc.integer({ min: 0, max: 1e12 }),
});

test('a job without a budget is never warned nor stopped', () => {
  fc.assert(
    fc.property(uses, (use) => {
      assert.deepEqual(decideBudget(noBudget, use, []), { warned: [], warnings: [], stop: null });
    }),
  );
});

test('a stop comes exactly when a limit is reached, and what is reached was warned of', () => {
  fc.assert(
    fc.property(budgets, uses, (budget, use) => {
      const { warned, stop } = decideBudget(budget, use, []);
      const { maxCostMicros, renewWithinMs, idleTimeoutMs } = budget;
      // Nothing is under way without a rate.
      const kept = Number((BigInt(use.rateMicros) * BigInt(use.graceMs) + 1_800_000n) / 3_600_000n);
      const isReached =
        (maxCostMicros !== null && use.spentMicros + kept >= maxCostMicros) ||
        (renewWithinMs !== null && use.unrenewedMs !== null && use.unrenewedMs >= renewWithinMs) ||
        (idleTimeoutMs !== null && use.idleMs >= idleTimeoutMs);
      assert.equal(stop !== null, isReached);
      if (stop !== null) assert.ok(warned.includes(stop.limit));
    }),
  );
});

test('a limit is warned of once while it is near, and anew after it was far', () => {
  fc.assert(
    fc.property(budgets, uses, (budget, use) => {
      const first = decideBudget(budget, use, []);
      assert.deepEqual(
        first.warnings.map(({ limit }) => limit),
        first.warned,
      );
      assert.deepEqual(decideBudget(budget, use, first.warned).warnings, []);
      assert.deepEqual(decideBudget(budget, unused, first.warned).warned, []);
    }),
  );
});

test('what a stop may still cost is kept back from the cost', () => {
  const budget = { ...noBudget, maxCostMicros: 5_000_000 };
  const use = { ...unused, rateMicros: 3_600_000, graceMs: 10_000 };
  assert.equal(decideBudget(budget, { ...use, spentMicros: 4_989_999 }, []).stop, null);
  const { stop, warnings } = decideBudget(budget, { ...use, spentMicros: 4_990_000 }, []);
  assert.equal(stop?.text, 'budget: max_cost_usd 5.00 reached');
  assert.equal(warnings[0]?.text, 'budget: max_cost_usd 5.00 is 80 % used');
  assert.equal(warningShare, 0.8);
});

test('amounts are told as they were given', () => {
  assert.deepEqual([5_000_000, 1, 690_000, 1_234_500].map(usdText), ['5.00', '0.000001', '0.69', '1.2345']);
});
