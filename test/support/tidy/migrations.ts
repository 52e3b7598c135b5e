// Frozen migrations: the hash of each, checked by tidy; run this file to add the hashes of new ones.
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export const migrationFolder = 'src/db/migrations';

export type Hashes = Record<string, string>;

/** sha256 of every migration in the folder. */
export function migrationHashes(root: string): Hashes {
  const folder = join(root, migrationFolder);
  if (!existsSync(folder)) return {};
  const names = readdirSync(folder).filter((name) => name.endsWith('.sql'));
  return Object.fromEntries(names.sort().map((name) => [name, sha256(join(folder, name))]));
}

export function frozenHashes(root: string): Hashes {
  const file = join(root, migrationFolder, 'hashes.json');
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Hashes) : {};
}

export function migrationProblems(actual: Hashes, frozen: Hashes): string[] {
  const names = new Set([...Object.keys(actual), ...Object.keys(frozen)]);
  return [...names].flatMap((name) => {
    if (!(name in frozen)) return [`${name} is not frozen: run node test/support/tidy/migrations.ts`];
    if (!(name in actual)) return [`${name} is frozen but gone: a migration that was released stays`];
    if (actual[name] !== frozen[name]) return [`${name} was changed: write a new migration instead`];
    return [];
  });
}

function sha256(file: string): string {
  return createHash('sha256').update(readFileSync(file)).digest('hex');
}

if (import.meta.main) {
  const root = process.cwd();
  const hashes = { ...migrationHashes(root), ...frozenHashes(root) };
  writeFileSync(join(root, migrationFolder, 'hashes.json'), `${JSON.stringify(hashes, null, 2)}\n`);
  for (const problem of migrationProblems(migrationHashes(root), hashes)) console.error(problem);
}
