// Rules of a job's volumes: an image each, and a place in the container that a volume can be mounted at.
import type { FieldIssue } from '../protocol/error.ts';
import { imageIssues, registryIssues } from './image-rules.ts';

const maxMountLength = 1024;
/** The kernel's and the engine's own; a volume there would break the container or reach past it. */
const reservedTrees = ['/proc', '/sys', '/dev'];
/** Files that the engine mounts itself. */
const reservedFiles = ['/etc/hosts', '/etc/hostname', '/etc/resolv.conf'];

export function volumeIssues(volumes: unknown, path: string): FieldIssue[] {
  if (!Array.isArray(volumes)) return [];
  const mounts = volumes.map((volume: unknown) => mountOf(volume));
  return volumes.flatMap((volume: unknown, index): FieldIssue[] => {
    if (typeof volume !== 'object' || volume === null) return [];
    const fields: Record<string, unknown> = { ...volume };
    const at = `${path}[${index}]`;
    return [
      ...imageIssues(fields, at),
      ...registryIssues(fields, { path: at, hostField: 'registry' }),
      ...mountIssues(fields.mount, { at, isTaken: mounts.indexOf(mounts[index] ?? null) !== index }),
    ];
  });
}

/** The path without double and trailing slashes. */
export function mountPath(mount: string): string {
  return mount.replace(/\/+/g, '/').replace(/(.)\/$/, '$1');
}

function mountOf(volume: unknown): string | null {
  const { mount } = (volume ?? {}) as { mount?: unknown };
  return typeof mount === 'string' ? mountPath(mount) : null;
}

function mountIssues(mount: unknown, { at, isTaken }: { at: string; isTaken: boolean }): FieldIssue[] {
  if (typeof mount !== 'string') return [];
  const expected = mountExpectation(mount) ?? (isTaken ? 'a path that no other volume has' : null);
  return expected === null ? [] : [{ path: `${at}.mount`, expected, received: mount.slice(0, 80) }];
}

function mountExpectation(mount: string): string | null {
  const path = mountPath(mount);
  if (!path.startsWith('/')) return 'an absolute path such as /data';
  if (path === '/') return 'a path below /, such as /data';
  if (path.length > maxMountLength) return `at most ${maxMountLength} characters`;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: those are what must not be in it
  if (/[\0-\x1f\x7f]/.test(path)) return 'a path without control characters';
  if (path.split('/').some((part) => part === '.' || part === '..')) return 'a path without . and ..';
  if (reservedTrees.some((tree) => path === tree || path.startsWith(`${tree}/`)))
    return 'a path outside /proc, /sys and /dev';
  return reservedFiles.includes(path) ? 'a path that is not a file of the engine' : null;
}
