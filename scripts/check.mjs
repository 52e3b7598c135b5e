// `npm run check`: types, lint and format, and the rules of the code base.

import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { prepare, root } from './runtime.mjs';

const node = prepare();
const tidy = join('test', 'tidy.test.ts');
const steps = [
  { name: 'types', args: [join('node_modules', 'typescript', 'bin', 'tsc'), '-p', '.'] },
  { name: 'lint and format', args: [join('node_modules', '@biomejs', 'biome', 'bin', 'biome'), 'check'] },
  { name: 'tidy', args: ['--test', '--test-reporter=dot', tidy], isAbsent: !existsSync(join(root, tidy)) },
];

let failed = 0;
for (const { name, args, isAbsent } of steps) {
  if (isAbsent) continue;
  const startedAt = Date.now();
  const { status } = spawnSync(node, args, {
    cwd: root,
    stdio: ['ignore', 'inherit', 'inherit'],
    timeout: 10 * 60_000,
  });
  if (status !== 0) failed += 1;
  console.log(
    `${name}: ${status === 0 ? 'ok' : 'FAILED'} (${((Date.now() - startedAt) / 1000).toFixed(1)} s)`,
  );
}
process.exit(failed === 0 ? 0 : 1);
