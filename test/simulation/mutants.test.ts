// The simulation bites: each rule, broken on a copy of the tree, is caught within a bound; the full table is `npm run simulate:mutants`.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { mutants } from './mutants.ts';
import { runMutant } from './mutate.ts';

const bounds = { seedCount: 40, steps: 10_000 };
/** What must not be caught is looked at in the full table only: it takes all its seeds. */
const biting = mutants.filter(({ expected }) => expected === 'caught');

test('every rule has a mutant', () => {
  assert.equal(new Set(biting.map(({ rule }) => rule)).size, 10);
});

for (const mutant of biting) {
  test(`${mutant.rule}: ${mutant.name}`, async (context) => {
    const { caught, steps } = await runMutant(mutant, { ...bounds, firstSeed: mutant.likelySeed });
    assert.ok(caught !== null, `nothing was found in ${steps} steps`);
    context.diagnostic(`seed ${caught.seed} step ${caught.step}: ${caught.message}`);
  });
}
