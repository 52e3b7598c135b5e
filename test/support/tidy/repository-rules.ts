// Rules about every file git knows: nothing of one machine or its registry in it, and no work left for later.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

const binary = /\.(png|jpe?g|ico|woff2?|gz|zip|tar)$/;
// Written in parts so that this file does not name what it looks for.
const unfinished = new RegExp(`\\b(${['TO', 'DO'].join('')}|${['FIX', 'ME'].join('')})\\b`);
const standardFolders = [
  '/',
  '/root',
  '/home',
  '/tmp',
  '/opt',
  '/srv',
  '/usr',
  '/var',
  '/mnt',
  '/media',
  '/app',
];

export interface TextFile {
  path: string;
  text: string;
}

/** Files that git tracks or would add. */
export function repositoryFiles(root: string): TextFile[] {
  const options = { cwd: root, encoding: 'utf8', timeout: 30_000 } as const;
  const list = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], options);
  return list.split('\0').flatMap((path) => {
    if (path === '' || binary.test(path)) return [];
    const text = readIfThere(join(root, path));
    return text === null ? [] : [{ path, text }];
  });
}

/** Folders and hosts that mean something on this machine only. */
export function machineWords(root: string): string[] {
  const parent = dirname(root);
  const folders = standardFolders.includes(parent) ? [root] : [root, parent];
  const registry = execFileSync('npm', ['config', 'get', 'registry'], {
    cwd: root,
    encoding: 'utf8',
    timeout: 30_000,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const host = URL.canParse(registry.trim()) ? new URL(registry.trim()).host : '';
  return [...folders.map((folder) => `${folder}/`), ...(host.includes('.') ? [host] : [])];
}

export function repositoryProblems(files: TextFile[], words: string[]): string[] {
  return files.flatMap(({ path, text }) => {
    const problems = words
      .filter((word) => mentions(text, word))
      .map((word) => `${path} names ${word}, which is of this machine`);
    for (const [index, line] of text.split('\n').entries()) {
      if (unfinished.test(line))
        problems.push(`${path}:${index + 1} leaves work for later: do it or drop it`);
    }
    if (path.endsWith('package-lock.json') && /"resolved":\s*"https?:/.test(text)) {
      problems.push(`${path} holds "resolved" addresses: npm install with omit-lockfile-registry-resolved`);
    }
    if (path.endsWith('.npmrc') && /^\s*([^#;]*:)?registry\s*=/m.test(text))
      problems.push(`${path} sets a registry`);
    return problems;
  });
}

/** `word` not as the end of a longer path or name. */
function mentions(text: string, word: string): boolean {
  let index = text.indexOf(word);
  while (index !== -1) {
    if (index === 0 || !/[\w.~/-]/.test(text[index - 1] ?? '')) return true;
    index = text.indexOf(word, index + 1);
  }
  return false;
}

function readIfThere(file: string): string | null {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return null;
  }
}
