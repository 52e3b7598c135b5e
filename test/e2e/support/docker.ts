// What the engine itself says of the containers of a job, asked past Flotilla.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** Docker tests run where scripts/with-docker.sh started an engine of their own. */
export const needsDocker = {
  skip: process.env.DOCKER_HOST ? false : 'needs a Docker Engine at DOCKER_HOST',
};

export interface Container {
  id: string;
  state: string;
  runUuid: string;
}

export async function docker(...args: string[]): Promise<string> {
  const { stdout } = await run('docker', args, { timeout: 30_000 });
  return stdout.trim();
}

/** Every container with this label, running or not. */
export async function containersWith(label: string): Promise<Container[]> {
  const format = '{{.ID}} {{.State}} {{.Label "flotilla.run"}}';
  const listed = await docker('ps', '-a', '--no-trunc', '--filter', `label=${label}`, '--format', format);
  return listed
    .split('\n')
    .filter(Boolean)
    .map((line) => {
      const [id = '', state = '', runUuid = ''] = line.split(' ');
      return { id, state, runUuid };
    });
}

export function containersOf(jobUuid: string): Promise<Container[]> {
  return containersWith(`flotilla.job=${jobUuid}`);
}
