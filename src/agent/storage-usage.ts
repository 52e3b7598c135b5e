// Disk blocks that a container fills, counted in its folders on this machine.
import { execFile } from 'node:child_process';
import { access } from 'node:fs/promises';

/** The parts of the engine's answer that name a container's folders. */
export interface ContainerPlaces {
  GraphDriver?: { Data?: Record<string, string> | null } | null;
  Mounts?: { Type: string; Source: string }[] | null;
}

/** A million small files take seconds; a tree that takes longer is left for the next round. */
const walkTimeoutMs = 60_000;

/** Null where the writable layer is not a folder that this process can see. */
export async function usedBytes({ GraphDriver, Mounts }: ContainerPlaces): Promise<number | null> {
  const layer = GraphDriver?.Data?.UpperDir;
  if (layer === undefined || !(await isThere(layer))) return null;
  const volumes = (Mounts ?? []).filter(({ Type }) => Type === 'volume').map(({ Source }) => Source);
  return blocksOf([layer, ...volumes]);
}

async function isThere(folder: string): Promise<boolean> {
  return access(folder).then(
    () => true,
    () => false,
  );
}

/** Files that vanish during the walk make du complain and go on: what it printed still counts. */
function blocksOf(folders: readonly string[]): Promise<number> {
  return new Promise((resolve, reject) => {
    const parameters = ['-n', '10', 'du', '-s', '-k', '-x', '--', ...folders];
    const limits = {
      timeout: walkTimeoutMs,
      maxBuffer: 1024 * 1024,
      env: { PATH: process.env.PATH ?? '', LC_ALL: 'C' },
    };
    execFile('nice', parameters, limits, (error, stdout) => {
      const sizes = [...stdout.matchAll(/^(\d+)\s/gm)].map(([, blocks = '0']) => Number(blocks));
      if (sizes.length > 0) return resolve(sizes.reduce((sum, blocks) => sum + blocks, 0) * 1024);
      reject(new Error(`du told nothing of ${folders.join(', ')}`, { cause: error ?? undefined }));
    });
  });
}
