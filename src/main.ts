// The program: hands the command line to its commands and the commands their roles.
import { readFileSync } from 'node:fs';
import { enableCompileCache } from 'node:module';

// Set before the rest is loaded, which is why the rest is imported when it is needed.
enableCompileCache();
const { processIo } = await import('./cli/io.ts');
const { runProgram } = await import('./cli/program.ts');

const manifest = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
  version: string;
};
/** The roles are large; a short command does not wait for them. */
const loadRoles = () => import('./main/roles.ts');

process.exitCode = await runProgram(
  process.argv.slice(2),
  {
    version: manifest.version,
    up: async (options) => (await loadRoles()).up(options, manifest.version),
    server: async (options) => (await loadRoles()).server(options, manifest.version),
    nodeRun: async (options) => (await loadRoles()).nodeRun(options, manifest.version),
    clusterRestored: async (options) => (await loadRoles()).clusterRestored(options),
    keyRecover: async (options) => (await loadRoles()).keyRecover(options),
  },
  processIo(),
);
