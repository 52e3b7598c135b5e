// Finds programs on the PATH and in the system folders that a plain user's PATH often lacks.

import { accessSync, constants } from 'node:fs';
import { join } from 'node:path';

export const systemFolders = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin'];

export function findProgram(name: string, env: NodeJS.ProcessEnv): string | undefined {
  const onPath = (env.PATH ?? '').split(':').filter((folder) => folder !== '');
  return [...onPath, ...systemFolders].map((folder) => join(folder, name)).find(isExecutable);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
