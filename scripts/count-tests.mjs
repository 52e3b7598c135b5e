// Runs test files with node:test, prints what failed in full, and writes the counts as JSON. Runs on the new Node.js.
// Usage: node count-tests.mjs COUNTS_FILE CONCURRENCY FILE...

import { writeFileSync } from 'node:fs';
import { relative } from 'node:path';
import { run } from 'node:test';
import { inspect } from 'node:util';

const [countsFile, concurrency, ...files] = process.argv.slice(2);
const fileLimitMs = 10 * 60_000;
const longestOutput = 64 * 1024;

const counts = { passed: 0, failed: 0, skipped: 0 };
const outputs = new Map();
const failedFiles = new Set();

const stream = run({ files, concurrency: Number(concurrency), timeout: fileLimitMs });
stream.on('test:pass', (event) => count(event, () => 'passed'));
stream.on('test:fail', (event) => count(event, fail));
stream.on('test:stdout', keep);
stream.on('test:stderr', keep);
stream.on('end', finish);
stream.resume();

/** Suites and files are not tests; a file is reported as one only when it holds none or broke as a whole. */
function count(event, outcome) {
  const { details, skip, todo } = event;
  if (details.type === 'suite' && !isFailure(details)) return;
  const result = isFileItself(event) && !isFailure(details) ? failEmpty(event) : outcome(event);
  if (result === undefined) return;
  const isSkipped = (skip !== undefined && skip !== false) || (todo !== undefined && todo !== false);
  if (isSkipped) printSkip(event);
  counts[isSkipped ? 'skipped' : result] += 1;
}

function failEmpty(event) {
  console.log(`\nFAILED  ${place(event)} holds no test`);
  return 'failed';
}

function isFailure(details) {
  return details.error !== undefined;
}

function isFileItself({ name, file, nesting }) {
  return nesting === 0 && (name === file || files.some((path) => path === name || path.endsWith(`/${name}`)));
}

/** A parent that failed only through its subtests has nothing of its own to tell. */
function fail(event) {
  const { error } = event.details;
  if (error?.failureType === 'subtestsFailed') return undefined;
  failedFiles.add(event.file);
  console.log(`\nFAILED  ${event.name}\n        ${place(event)}`);
  console.log(
    indent(inspect(error?.cause ?? error, { depth: 8, maxStringLength: 20_000, maxArrayLength: 500 })),
  );
  return 'failed';
}

function printSkip(event) {
  const reason = typeof event.skip === 'string' ? event.skip : event.todo;
  console.log(`skipped ${event.name}${typeof reason === 'string' ? `: ${reason}` : ''} (${place(event)})`);
}

function place({ file, line }) {
  return file === undefined ? '' : `${relative(process.cwd(), file)}:${line ?? 1}`;
}

function indent(text) {
  return text.replace(/^/gm, '        ');
}

function keep({ file, message }) {
  outputs.set(file, ((outputs.get(file) ?? '') + message).slice(-longestOutput));
}

function finish() {
  for (const file of failedFiles) {
    const output = outputs.get(file);
    if (output) console.log(`\nOutput of ${relative(process.cwd(), file)}:\n${indent(output)}`);
  }
  writeFileSync(countsFile, JSON.stringify(counts));
  process.exit(counts.failed === 0 ? 0 : 1);
}
