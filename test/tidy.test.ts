// Style as a test: imports, cycles, exports, SQL, migrations, routes and what must not be written anywhere.
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { fileProblems, fileWarnings } from './support/tidy/file-rules.ts';
import { importCycles, importProblems } from './support/tidy/import-rules.ts';
import { frozenHashes, migrationHashes, migrationProblems } from './support/tidy/migrations.ts';
import { machineWords, repositoryFiles, repositoryProblems } from './support/tidy/repository-rules.ts';
import { routeProblems, routesOf } from './support/tidy/route-rules.ts';
import { readSources, type SourceFile } from './support/tidy/source-file.ts';

const root = resolve(import.meta.dirname, '..');
const files = readSources(root);

test('sees the files', () => {
  const paths = files.map((file) => file.path);
  for (const path of ['src/domain/job.ts', 'src/protocol/job.ts', 'test/tidy.test.ts']) {
    assert.ok(paths.includes(path), `${path} was not read`);
  }
  assert.ok(
    files.some((file) => file.imports.length > 0 && file.functions.length > 0 && file.names.length > 0),
  );
});

test('folders import only what the design allows', () => {
  const { dependencies, optionalDependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const names = new Set(Object.keys({ ...dependencies, ...optionalDependencies }));
  assert.ok(names.size > 0);
  assert.deepEqual(importProblems(files, names), []);
});

test('no cycles', () => {
  assert.deepEqual(importCycles(files), []);
});

test('no file breaks a style rule', (context) => {
  assert.deepEqual(files.flatMap(fileProblems), []);
  for (const warning of files.flatMap(fileWarnings)) context.diagnostic(`warning: ${warning}`);
});

test('migrations stay as they were released', () => {
  assert.deepEqual(migrationProblems(migrationHashes(root), frozenHashes(root)), []);
});

test('every route is in the authorisation test', async (context) => {
  const hasRoutes = files.some((file) => file.path.startsWith('src/api/routes/'));
  if (!hasRoutes) return context.skip('src/api/routes has no files yet');
  assert.ok(routesOf(files).length > 0, 'src/api/routes has files, but no route was recognised in them');
  const list = join(root, 'test/http/authorisation-routes.ts');
  assert.ok(existsSync(list), 'src/api/routes has files, but test/http/authorisation-routes.ts is missing');
  const exported: unknown[] = Object.values(await import(pathToFileURL(list).href));
  const lists = exported.filter((value): value is string[] => Array.isArray(value));
  const entries = lists.flat().filter((entry) => entry.includes(' /v1/'));
  assert.ok(entries.length > 0, 'test/http/authorisation-routes.ts lists no route');
  assert.deepEqual(routeProblems(files, entries), []);
});

test('nothing of one machine and no work for later is written down', () => {
  const known = repositoryFiles(root);
  assert.ok(known.some((file) => file.path === 'package-lock.json'));
  assert.deepEqual(repositoryProblems(known, machineWords(root)), []);
});

// Below, the rules themselves: each is shown to fail on a project that breaks it.

function project(contents: Record<string, string>): SourceFile[] {
  const folder = mkdtempSync(join(tmpdir(), 'flotilla-tidy-'));
  try {
    const options = {
      module: 'nodenext',
      target: 'es2024',
      allowImportingTsExtensions: true,
      noEmit: true,
      types: [],
    };
    const all = {
      ...contents,
      'tsconfig.json': JSON.stringify({ compilerOptions: options, include: ['src'] }),
    };
    for (const [path, text] of Object.entries(all)) {
      mkdirSync(dirname(join(folder, path)), { recursive: true });
      writeFileSync(join(folder, path), text);
    }
    return readSources(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test('rule: imports outside the table, of every form', () => {
  const bad = project({
    'src/domain/a.ts': "import fs from 'node:fs';\nimport type { X } from '../db/x.ts';\nimport 'pg';",
    'src/db/x.ts': "export type X = import('../cli/y.ts').Y;\nconst z = await import('../api/z.ts');",
    'src/cli/y.ts': "export * from '../hub/h.ts';\nimport { fastify } from 'fastify';\nimport 'left-pad';",
    'src/main.ts': "import '../src/api/z.ts';",
    'src/helpers/u.ts': "import '../domain/a.ts';",
  });
  assert.deepEqual(importProblems(bad, new Set(['pg', 'fastify'])).sort(), [
    'src/cli/y.ts imports fastify, which belongs to api',
    'src/cli/y.ts imports left-pad, which is not a run-time dependency',
    'src/cli/y.ts imports src/hub/h.ts: cli may import sdk, protocol',
    'src/db/x.ts imports src/api/z.ts: db may import domain, protocol',
    'src/db/x.ts imports src/cli/y.ts: db may import domain, protocol',
    'src/domain/a.ts imports node:fs: domain imports nothing from outside',
    'src/domain/a.ts imports pg: domain imports nothing from outside',
    'src/domain/a.ts imports src/db/x.ts: domain may import nothing of ours',
    "src/helpers/u.ts: src/helpers is not in the design's folder table",
  ]);
});

test('rule: cycles', () => {
  const bad = project({
    'src/db/a.ts': "import './b.ts';",
    'src/db/b.ts': "import type { C } from './c.ts';",
    'src/db/c.ts': "import './a.ts';\nimport './d.ts';",
    'src/db/d.ts': '',
  });
  assert.deepEqual(importCycles(bad), [['src/db/a.ts', 'src/db/b.ts', 'src/db/c.ts', 'src/db/a.ts']]);
});

test('rule: what one file can break', () => {
  const bad = project({
    'src/domain/clock.ts': '// Tells time.\nconst at = Date.now();\nexport default at;',
    'src/domain/fine.ts': "// Names Date.now() and select 1 from t.\nconst text = 'Date.now';",
    'src/api/list.ts': `const id = 1;\nquery(\`\n  select * from jobs where id = \${id}\`);\nquery("DELETE FROM jobs");`,
    'src/db/list.ts': '// Lists.\nquery(`select * from jobs`);',
    'src/db/lock.ts':
      "// Locks.\nquery('select pg_advisory_lock(1)');\nquery('select pg_advisory_xact_lock(1)');\nquery(\"set timezone = 'UTC'\");\nquery('create temp table t ()');",
    'src/sdk/index.ts': "// Everything.\nexport { a } from './a.ts';",
    'src/sdk/long.ts': `// Long.\nfunction f() {\n${'  a();\n'.repeat(400)}}`,
  });
  assert.deepEqual(bad.flatMap(fileProblems).sort(), [
    'src/api/list.ts:1 does not open with a comment that says its duty',
    'src/api/list.ts:2 holds SQL outside src/db',
    'src/api/list.ts:4 holds SQL outside src/db',
    'src/db/lock.ts:2 keeps state in a session, which a pooler hands to others',
    'src/db/lock.ts:4 keeps state in a session, which a pooler hands to others',
    'src/db/lock.ts:5 keeps state in a session, which a pooler hands to others',
    'src/domain/clock.ts has a default export',
    'src/domain/clock.ts:2 uses Date.now: time, chance and the outside are passed in to domain',
    'src/sdk/index.ts is a barrel: import from where things are made',
    'src/sdk/long.ts has 403 lines, more than 400: split it',
  ]);
  assert.ok(bad.flatMap(fileWarnings).includes('src/sdk/long.ts:2 function f has 402 lines'));
});

test('rule: routes without an authorisation test, and entries without a route', () => {
  const bad = project({
    'src/api/routes/jobs.ts':
      "app.get('/v1/jobs/:uuid', options, f);\napp.route({ method: 'PUT', url: '/v1/jobs/:uuid/cancel', handler });\n" +
      "app.post(path, f);\nmap.get('/v1/x', 1);\napp.get('/docs', f);",
  });
  assert.deepEqual(routeProblems(bad, ['GET /v1/jobs/{uuid}', 'DELETE /v1/jobs']), [
    'src/api/routes/jobs.ts:2 PUT /v1/jobs/:uuid/cancel is missing from the authorisation test',
    'src/api/routes/jobs.ts:3 registers a route, but its path is not written as a literal',
    'the authorisation test lists DELETE /v1/jobs, which no file registers',
  ]);
});

test('rule: changed, new and missing migrations', () => {
  assert.deepEqual(migrationProblems({ a: '1', b: '2' }, { b: '3', c: '4' }), [
    'a is not frozen: run node test/support/tidy/migrations.ts',
    'b was changed: write a new migration instead',
    'c is frozen but gone: a migration that was released stays',
  ]);
});

test('rule: words of one machine, addresses in lock files, work for later', () => {
  const bad = [
    { path: 'a.md', text: 'see /clone/here/x, not /other/clone/here/ or clone/here/' },
    { path: 'b.md', text: 'see /other/clone/here/' },
    { path: 'x/package-lock.json', text: '{"resolved": "https://example.org/a.tgz"}' },
    { path: '.npmrc', text: 'audit=false\nregistry=https://example.org' },
    { path: 'c.sh', text: `# ${'TO'}${'DO'}: later` },
  ];
  assert.deepEqual(repositoryProblems(bad, ['/clone/here/']), [
    'a.md names /clone/here/, which is of this machine',
    'x/package-lock.json holds "resolved" addresses: npm install with omit-lockfile-registry-resolved',
    '.npmrc sets a registry',
    'c.sh:1 leaves work for later: do it or drop it',
  ]);
});
