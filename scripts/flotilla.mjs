#!/usr/bin/env node
// The `flotilla` command: of this clone, where Node runs the sources, or of the installed package, where they are compiled.

import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const source = join(dirname(dirname(fileURLToPath(import.meta.url))), 'src', 'main.ts');
if (existsSync(source)) {
  const { prepare, runAndExit } = await import('./runtime.mjs');
  runAndExit(prepare(), [source, ...process.argv.slice(2)]);
} else {
  await import('../dist/main.js');
}
