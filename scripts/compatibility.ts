// `npm run compatibility`: writes docs/compatibility.md from the lists in test/http/reference and the server's OpenAPI document.
import { writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import {
  compatibilityMarkdown,
  compatibilityProblems,
  documentPath,
} from '../test/http/reference/document.ts';
import { fetchOpenApi } from '../test/support/openapi-check.ts';
import { startTestPostgres } from '../test/support/postgres.ts';
import { startTestServer } from '../test/support/server.ts';

const root = resolve(import.meta.dirname, '..');
const postgres = await startTestPostgres();
const server = await startTestServer({ postgres, hasScheduler: false });
const document = await fetchOpenApi(server.url);
await server.stop();
await postgres.stop();
const problems = compatibilityProblems(document, root);
for (const problem of problems) console.error(problem);
writeFileSync(join(root, documentPath), compatibilityMarkdown(document, root));
console.log(`Wrote ${documentPath}.`);
process.exitCode = problems.length > 0 ? 1 : 0;
