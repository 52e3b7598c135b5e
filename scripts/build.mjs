// `npm run build`, and first of all in `npm pack`: src as JavaScript with declarations, since Node runs no TypeScript below node_modules.

import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fail, root } from './runtime.mjs';

const limitMs = 5 * 60_000;
const compiler = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
const dist = join(root, 'dist');

if (!existsSync(compiler)) fail('There is no TypeScript compiler here: run "npm ci" first.');
rmSync(dist, { recursive: true, force: true });
const options = { cwd: root, stdio: ['ignore', 2, 2], timeout: limitMs };
const { status } = spawnSync(process.execPath, [compiler, '-p', 'tsconfig.build.json'], options);
if (status !== 0) fail('src does not compile; see the lines above.');
cpSync(join(root, 'src', 'db', 'migrations'), join(dist, 'db', 'migrations'), { recursive: true });
