// Installs Debian packages without asking anything, telling what and how long.

import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const run = promisify(execFile);
const limitMs = 10 * 60_000;

/** Needs root on Debian or Ubuntu. apt-get waits for another apt-get to end, two minutes at most. */
export async function installPackages(options: {
  packages: string[];
  log: (line: string) => void;
}): Promise<void> {
  const { packages, log } = options;
  const startedAt = performance.now();
  log(`installing ${packages.join(' ')} with apt-get ...`);
  await apt(['update']);
  await apt(['install', '-y', '--no-install-recommends', ...packages]);
  log(`installed ${packages.join(' ')} in ${((performance.now() - startedAt) / 1000).toFixed(1)} s`);
}

async function apt(args: string[]): Promise<void> {
  try {
    await run('apt-get', ['-qq', '-o', 'DPkg::Lock::Timeout=120', ...args], {
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
      timeout: limitMs,
      maxBuffer: 64 * 1024 * 1024,
    });
  } catch (cause) {
    const text = cause instanceof Error && 'stderr' in cause ? String(cause.stderr) : String(cause);
    const reason = text.split('\n').find((line) => line.startsWith('E:')) ?? text.trim().split('\n').at(-1);
    throw new Error(`"apt-get ${args.join(' ')}" failed: ${reason}. Run it by hand, then start again.`, {
      cause,
    });
  }
}
