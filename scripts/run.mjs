// Runs any TypeScript file of this clone with the right Node.js: node scripts/run.mjs bench/run.ts ARGUMENTS
// In it 'flotilla/sdk' is src/sdk, as the condition flotilla-source of package.json says.

import { fail, prepare, runAndExit } from './runtime.mjs';

const [file, ...args] = process.argv.slice(2);
if (file === undefined) fail('Usage: node scripts/run.mjs FILE [ARGUMENTS]');
runAndExit(prepare(), ['--conditions=flotilla-source', file, ...args]);
