// Runs the sections that need containers in a network namespace with a Docker Engine of its own.
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Figure } from './figures.ts';
import type { Workspace } from './workspace.ts';

const harness = fileURLToPath(new URL('../../scripts/with-docker.sh', import.meta.url));
const program = fileURLToPath(new URL('../run.ts', import.meta.url));

/** An engine is at hand already: the one DOCKER_HOST names. */
export function hasEngine(): boolean {
  return process.env.DOCKER_HOST !== undefined;
}

/** Needs root; the section's own run writes its figures to a file of ours. */
export async function runInsideDocker(
  workspace: Workspace,
  { section, isQuick }: { section: string; isQuick: boolean },
): Promise<Figure[]> {
  if (process.getuid?.() !== 0)
    throw new Error(`The section ${section} needs root for a Docker Engine of its own, or DOCKER_HOST.`);
  const file = join(workspace.newFolder('figures'), 'figures.json');
  const flags = [...(isQuick ? ['--quick'] : []), '--figures', file];
  const child = spawn(harness, [process.execPath, program, section, ...flags], {
    stdio: ['ignore', 'inherit', 'inherit'],
    detached: true,
  });
  workspace.track(child);
  const code = await new Promise((resolve, reject) => child.on('error', reject).on('exit', resolve));
  if (code !== 0) throw new Error(`The section ${section} ended with exit code ${code}.`);
  return JSON.parse(readFileSync(file, 'utf8')) as Figure[];
}
