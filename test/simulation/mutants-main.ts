// The table of mutants: which were caught, by which invariant, at which seed and step.
import { parseArgs } from 'node:util';
import { mutants } from './mutants.ts';
import { describeResult, runMutant } from './mutate.ts';

const { values } = parseArgs({
  options: {
    /** Absent: each mutant's likely one. */
    seed: { type: 'string' },
    seeds: { type: 'string', default: '40' },
    steps: { type: 'string', default: '10000' },
    /** Part of the rule's words; absent: all. */
    rule: { type: 'string', default: '' },
  },
});

let wrongCount = 0;
for (const mutant of mutants.filter(({ rule }) => rule.includes(values.rule))) {
  const seedCount = mutant.expected === 'held' ? Math.ceil(Number(values.seeds) / 4) : Number(values.seeds);
  const bounds = {
    firstSeed: Number(values.seed ?? mutant.likelySeed),
    seedCount,
    steps: Number(values.steps),
  };
  const result = await runMutant(mutant, bounds);
  if ((result.caught !== null) !== (mutant.expected === 'caught')) wrongCount += 1;
  console.log(describeResult(result));
}
process.exit(wrongCount === 0 ? 0 : 1);
