// The simulation bites: rules, broken on a copy of the tree, are caught within a bound. Three a day by turns; all of them,
// and what a second line of defence holds, in the table of `npm run simulate:mutants`.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { mutants } from './mutants.ts';
import { runMutant } from './mutate.ts';

const bounds = { seedCount: 40, steps: 10_000 };
const dayMs = 86_400_000;
const biting = mutants.filter(({ expected }) => expected === 'caught');
const today = Math.floor(Date.now() / dayMs);
const turns = [0, 3, 7].map((shift) => biting[(today + shift) % biting.length]);

test('every rule has one mutant that must be caught', () => {
  assert.equal(biting.length, 10);
  assert.equal(new Set(biting.map(({ rule }) => rule)).size, 10);
});

for (const mutant of turns) {
  test(`${mutant?.rule}: ${mutant?.name}`, async (context) => {
    assert.ok(mutant !== undefined);
    const { caught, steps } = await runMutant(mutant, { ...bounds, firstSeed: mutant.likelySeed });
    assert.ok(caught !== null, `nothing was found in ${steps} steps`);
    context.diagnostic(`seed ${caught.seed} step ${caught.step}: ${caught.message}`);
  });
}
