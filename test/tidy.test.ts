// Style as a test: imports, cycles, exports, SQL, migrations, routes and what must not be written anywhere.
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { fileProblems, fileWarnings } from './support/tidy/file-rules.ts';
import { importCycles, importProblems } from './support/tidy/import-rules.ts';
import { frozenHashes, migrationHashes, migrationProblems } from './support/tidy/migrations.ts';
import { machineWords, repositoryFiles, repositoryProblems } from './support/tidy/repository-rules.ts';
import { routeProblems, routesOf } from './support/tidy/route-rules.ts';
import { readSources } from './support/tidy/source-file.ts';

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
  const entries = exported.find(
    (value) => Array.isArray(value) && value.every((it) => typeof it === 'string'),
  );
  assert.ok(Array.isArray(entries), 'test/http/authorisation-routes.ts exports no string[]');
  assert.deepEqual(routeProblems(files, entries), []);
});

test('nothing of one machine is written down', () => {
  const known = repositoryFiles(root);
  assert.ok(known.some((file) => file.path === 'package-lock.json'));
  assert.deepEqual(repositoryProblems(known, machineWords(root)), []);
});
