// docs/compatibility.md is what the lists, the OpenAPI document and the tests say: nothing is missing, nothing without evidence.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { fetchOpenApi } from '../support/openapi-check.ts';
import { startTestServer } from '../support/server.ts';
import { compatibilityMarkdown, compatibilityProblems, documentPath } from './reference/document.ts';

const root = resolve(import.meta.dirname, '../..');
const server = await startTestServer({ hasScheduler: false });
const document = await fetchOpenApi(server.url);

test('every endpoint has a row, and every row has evidence that is there', () => {
  assert.deepEqual(compatibilityProblems(document, root), []);
});

test('the document is up to date', () => {
  const committed = readFileSync(join(root, documentPath), 'utf8');
  const isCurrent = committed === compatibilityMarkdown(document, root);
  assert.ok(isCurrent, `${documentPath} is not what it would be: run npm run compatibility and commit it`);
});

test('an endpoint without a row, and evidence that is not there, are found', () => {
  const more = { ...document, paths: { ...document.paths, '/v1/moons': { get: { responses: {} } } } };
  assert.match(compatibilityProblems(more, root)[0] ?? '', /GET \/v1\/moons has no row/);
  const { '/v1/webhooks': _, ...fewer } = document.paths;
  const stale = compatibilityProblems({ ...document, paths: fewer }, root);
  assert.ok(stale.includes('GET /v1/webhooks is in no document'));
  const elsewhere = compatibilityProblems(document, join(root, 'docs'));
  assert.ok(elsewhere.some((problem) => problem.includes('is no test')));
});
