#!/usr/bin/env node
// The `flotilla` command of this clone.

import { join } from 'node:path';
import { prepare, root, runAndExit } from './runtime.mjs';

runAndExit(prepare(), [join(root, 'src', 'main.ts'), ...process.argv.slice(2)]);
