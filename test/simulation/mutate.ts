// `npm run simulate:mutants`: breaks one rule after another on a copy of the tree, and shows which invariant catches it.
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Edit, Mutant } from './mutants.ts';
import { runSeeds } from './seed-runs.ts';

export interface MutantResult {
  mutant: Mutant;
  /** null: no seed failed. */
  caught: { seed: number; step: number; invariant: string; message: string } | null;
  steps: number;
  tookMs: number;
}

export interface MutantBounds {
  firstSeed: number;
  seedCount: number;
  steps: number;
}

const root = join(import.meta.dirname, '..', '..');

export async function runMutant(mutant: Mutant, bounds: MutantBounds): Promise<MutantResult> {
  const startedAtMs = performance.now();
  const folder = mkdtempSync(join(tmpdir(), 'flotilla-mutant-'));
  const remove = () => rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
  process.once('exit', remove);
  const result: MutantResult = { mutant, caught: null, steps: 0, tookMs: 0 };
  try {
    copyTree(folder);
    for (const edit of mutant.edits) apply(folder, edit);
    const { ignored = [] } = mutant;
    await runSeeds({ ...bounds, root: folder, workerCount: 1, stopsAtFailure: true, ignored }, (line) => {
      result.steps += line.steps;
      if (line.violation === null) return;
      const { invariant, message, step } = line.violation;
      result.caught = { seed: line.seed, step, invariant, message };
    });
  } finally {
    remove();
    process.off('exit', remove);
  }
  return { ...result, tookMs: performance.now() - startedAtMs };
}

function copyTree(folder: string): void {
  for (const path of ['src', 'test/simulation', 'test/support', 'package.json'])
    cpSync(join(root, path), join(folder, path), { recursive: true });
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
}

function apply(folder: string, { file, from, to }: Edit): void {
  const path = file.endsWith('.ts')
    ? join(folder, 'src', file)
    : lastFileWith(join(folder, 'src', file), from);
  const text = readFileSync(path, 'utf8');
  if (text.split(from).length !== 2)
    throw new Error(`The edit of ${file} does not match exactly once: ${from}`);
  writeFileSync(
    path,
    text.replace(from, () => to),
  );
}

/** A later migration replaces what an earlier one made. */
function lastFileWith(folder: string, text: string): string {
  const names = readdirSync(folder).filter((name) => readFileSync(join(folder, name), 'utf8').includes(text));
  const last = names.sort().at(-1);
  if (last === undefined) throw new Error(`No file of ${folder} holds: ${text}`);
  return join(folder, last);
}

export function describeResult({ mutant, caught, steps, tookMs }: MutantResult): string {
  const { rule, name, expected } = mutant;
  const seconds = `${(tookMs / 1000).toFixed(0)} s`;
  const isRight = (caught !== null) === (expected === 'caught');
  const found =
    caught === null
      ? `nothing in ${steps} steps`
      : `seed ${caught.seed} step ${caught.step}: ${caught.message}`;
  return `${isRight ? 'ok   ' : 'WRONG'} ${rule} | ${name} | ${found} | ${seconds}`;
}
