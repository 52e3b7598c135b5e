// Reputation: within its bounds, up with what was kept, down with what was broken, and the past fades.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Deeds, halfLifeMs, noPromises, type Promises, reputationOf, withDeeds } from './reputation.ts';

const nothing: Deeds = { runsKept: 0, runsBroken: 0, losses: 0, readyMs: 0 };
const weight = fc.double({ min: 0, max: 1e6, noNaN: true });
const aPast: fc.Arbitrary<Promises> = fc.record({ kept: weight, broken: weight });
const count = fc.nat({ max: 1_000 });
const someDeeds: fc.Arbitrary<Deeds> = fc.record({
  ...{ runsKept: count, runsBroken: count, losses: count },
  readyMs: fc.nat({ max: 86_400_000 }),
});
const span = fc.nat({ max: 10 * halfLifeMs });
const after = (past: Promises, deeds: Partial<Deeds>, elapsedMs = 0) =>
  reputationOf(withDeeds(past, { ...nothing, ...deeds }, elapsedMs));

test('nobody knows a new node: half', () => {
  assert.equal(reputationOf(noPromises), 0.5);
});

test('it is always from 0 to 1, after any history', () => {
  const history = fc.array(fc.tuple(someDeeds, span), { maxLength: 20 });
  fc.assert(
    fc.property(history, (steps) => {
      const end = steps.reduce((past, [deeds, ms]) => withDeeds(past, deeds, ms), noPromises);
      const value = reputationOf(end);
      return value >= 0 && value <= 1;
    }),
  );
});

test('it rises with a promise kept and falls with one broken', () => {
  fc.assert(
    fc.property(aPast, span, (past, ms) => {
      const idle = after(past, {}, ms);
      const [kept, ready] = [after(past, { runsKept: 1 }, ms), after(past, { readyMs: 86_400_000 }, ms)];
      const [broken, lost] = [after(past, { runsBroken: 1 }, ms), after(past, { losses: 1 }, ms)];
      return kept > idle && ready > idle && broken < idle && lost < broken;
    }),
  );
});

test('a broken promise costs more than a kept one earns', () => {
  fc.assert(
    fc.property(aPast, (past) => {
      const [idle, kept, broken] = [
        after(past, {}),
        after(past, { runsKept: 1 }),
        after(past, { runsBroken: 1 }),
      ];
      // Where all were kept there is nothing more to earn, where all were broken little more to lose.
      return past.kept < past.broken || idle - broken > kept - idle;
    }),
  );
});

test('what is recent weighs more: the same deeds in the other order', () => {
  fc.assert(
    fc.property(
      aPast,
      fc.integer({ min: 1, max: 1_000 }),
      fc.integer({ min: 60_000, max: halfLifeMs }),
      (past, n, ms) => {
        const steps = (first: Partial<Deeds>, second: Partial<Deeds>) =>
          after(withDeeds(past, { ...nothing, ...first }, 0), second, ms);
        return steps({ runsBroken: n }, { runsKept: n }) > steps({ runsKept: n }, { runsBroken: n });
      },
    ),
  );
});

test('time alone leads back to half, and rounds of any length come to the same', () => {
  const bad = withDeeds(noPromises, { ...nothing, runsBroken: 100 }, 0);
  assert.ok(reputationOf(bad) < 0.01);
  assert.ok(Math.abs(after(bad, {}, 20 * halfLifeMs) - 0.5) < 0.001);
  const halves = withDeeds(withDeeds(bad, nothing, halfLifeMs / 2), nothing, halfLifeMs / 2);
  assert.ok(Math.abs(halves.broken - bad.broken / 2) < 1e-9);
});
