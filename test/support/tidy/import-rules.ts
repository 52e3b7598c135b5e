// The import table of the design: which folder of src may import which, and which npm package belongs where.
import { posix } from 'node:path';
import type { SourceFile } from './source-file.ts';

/** Folder of src → folders it may import besides itself. A new arrow is an ADR. */
const allowed: Record<string, readonly string[]> = {
  domain: [],
  protocol: ['domain'],
  db: ['domain', 'protocol'],
  scheduler: ['domain', 'db'],
  api: ['domain', 'protocol', 'db'],
  hub: ['domain', 'protocol', 'db'],
  webhooks: ['domain', 'protocol', 'db'],
  ingress: ['domain', 'protocol'],
  gateway: ['domain', 'protocol', 'db', 'ingress'],
  agent: ['domain', 'protocol', 'ingress'],
  sdk: ['protocol', 'domain'],
  cli: ['sdk', 'protocol'],
  embedded: [],
};
/** Only src/main.ts and what it splits into imports everything. */
const wiring = /^src\/main(-[a-z-]+)?\.ts$|^src\/main\//;

/** npm packages that belong to certain folders only; others may be imported anywhere but in domain and sdk. */
const packageFolders: Record<string, readonly string[]> = {
  commander: ['cli'],
  fastify: ['api'],
  '@fastify/swagger': ['api'],
  pg: ['db', 'embedded'],
  ssh2: ['agent'],
  'tar-stream': ['agent', 'cli', 'embedded'],
  ws: ['hub', 'agent', 'api', 'sdk'],
};

export function importProblems(files: SourceFile[], dependencies: ReadonlySet<string>): string[] {
  return files
    .filter((file) => file.path.startsWith('src/'))
    .flatMap((file) => file.imports.flatMap((specifier) => problemOf(file, specifier, dependencies)));
}

function problemOf(file: SourceFile, specifier: string, dependencies: ReadonlySet<string>): string[] {
  if (specifier.startsWith('.')) return folderProblem(file.path, resolveImport(file.path, specifier));
  if (file.path.endsWith('.test.ts')) return [];
  return packageProblem(file.path, specifier, dependencies);
}

function folderProblem(path: string, target: string): string[] {
  if (wiring.test(path)) return [];
  const from = folderOf(path);
  const to = folderOf(target);
  if (!(from in allowed)) return [`${path}: src/${from} is not in the design's folder table`];
  if (from === to || allowed[from]?.includes(to)) return [];
  return [`${path} imports ${target}: ${from} may import ${allowed[from]?.join(', ') || 'nothing of ours'}`];
}

function packageProblem(path: string, specifier: string, dependencies: ReadonlySet<string>): string[] {
  const folder = folderOf(path);
  if (folder === 'domain') return [`${path} imports ${specifier}: domain imports nothing from outside`];
  if (specifier.startsWith('node:')) return [];
  const name = packageName(specifier);
  if (!dependencies.has(name)) return [`${path} imports ${name}, which is not a run-time dependency`];
  if (folder === 'sdk' && name !== 'ws')
    return [`${path} imports ${name}: the SDK has no npm dependency of its own but ws`];
  const folders = packageFolders[name];
  if (!folders || wiring.test(path) || folders.includes(folder)) return [];
  return [`${path} imports ${name}, which belongs to ${folders.join(', ')}`];
}

/** Each cycle once, as the files it goes through. */
export function importCycles(files: SourceFile[]): string[][] {
  const targets = new Map(
    files.map((file) => [
      file.path,
      file.imports.filter((specifier) => specifier.startsWith('.')).map((it) => resolveImport(file.path, it)),
    ]),
  );
  const cycles: string[][] = [];
  const done = new Set<string>();
  const visit = (path: string, trail: string[]) => {
    const index = trail.indexOf(path);
    if (index !== -1) cycles.push([...trail.slice(index), path]);
    if (index !== -1 || done.has(path)) return;
    for (const target of targets.get(path) ?? []) visit(target, [...trail, path]);
    done.add(path);
  };
  for (const path of targets.keys()) visit(path, []);
  return cycles;
}

function resolveImport(path: string, specifier: string): string {
  return posix.join(posix.dirname(path), specifier);
}

/** `db` of `src/db/jobs.ts`; the file itself where it lies in src directly, or outside. */
function folderOf(path: string): string {
  const match = /^src\/([^/]+)\//.exec(path);
  return match?.[1] ?? path;
}

function packageName(specifier: string): string {
  const parts = specifier.split('/');
  return parts.slice(0, specifier.startsWith('@') ? 2 : 1).join('/');
}
