// `npm start`: installs what is missing, then runs everything on this machine.

import { join } from 'node:path';
import { prepare, root, runAndExit } from './runtime.mjs';

runAndExit(prepare(), [join(root, 'src', 'main.ts'), 'up', ...process.argv.slice(2)]);
