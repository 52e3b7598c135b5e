// Exit codes and error texts: each kind of failure has its code, and says what is wrong in one sentence.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ApiError, ConnectionError } from '../sdk/errors.ts';
import { NotFoundError, UsageError, WaitTimeoutError } from './errors.ts';
import { errorExitCode, errorLines, exitCodeHelp, exitCodes, outcomeExitCode } from './exit-code.ts';

function apiError(status: number, error: object): ApiError {
  return new ApiError({ status, text: JSON.stringify({ error }) });
}

test('each kind of failure has its exit code', () => {
  const byStatus = { 400: 2, 409: 2, 413: 2, 415: 2, 404: 3, 401: 4, 402: 4, 403: 4, 429: 5, 500: 5, 503: 5 };
  for (const [status, code] of Object.entries(byStatus)) {
    assert.equal(errorExitCode(apiError(Number(status), { code: 'x', message: 'y' })), code, status);
  }
  assert.equal(errorExitCode(new ConnectionError('http://x', new Error('no'))), 5);
  assert.equal(errorExitCode(new NotFoundError('x')), 3);
  assert.equal(errorExitCode(new WaitTimeoutError('x')), 8);
  assert.equal(errorExitCode(new UsageError('x')), 1);
  assert.equal(errorExitCode('thrown text'), 1);
});

test('the outcome of a job is an exit code once it has ended', () => {
  assert.deepEqual(['COMPLETED', 'FAILED', 'CANCELLED', 'RUNNING', 'PENDING'].map(outcomeExitCode), [
    0,
    6,
    7,
    null,
    null,
  ]);
});

test('the help names every exit code', () => {
  for (const code of Object.values(exitCodes)) assert.match(exitCodeHelp, new RegExp(`^  ${code} +\\S`, 'm'));
});

test('validation issues are listed by path', () => {
  const error = apiError(400, {
    code: 'validation_failed',
    message: 'The job is not valid: 2 fields are wrong.',
    details: [
      { path: '/cpu_count', expected: 'a number of at least 0', received: '-1' },
      { path: '/cpus', expected: 'no such field', hint: 'did you mean cpu_count?' },
    ],
    request_id: 'r1',
  });
  assert.deepEqual(errorLines(error, false), [
    'flotilla: The job is not valid: 2 fields are wrong.',
    '  /cpu_count: expected a number of at least 0, got -1',
    '  /cpus: expected no such field (did you mean cpu_count?)',
  ]);
});

test('a message that is the first issue is not said twice', () => {
  const error = apiError(400, {
    code: 'validation_failed',
    message: 'cpu_count: expected a number <= 4096 (and 1 more, see details).',
    details: [
      { path: 'cpu_count', expected: 'a number <= 4096', received: '99999' },
      { path: 'min_ram_gb', expected: 'a number', received: 'null' },
    ],
  });
  assert.deepEqual(errorLines(error, false), [
    'flotilla: The request is not valid:',
    '  cpu_count: expected a number <= 4096, got 99999',
    '  min_ram_gb: expected a number, got null',
  ]);
});

test('a server error names its request, details of another form are left out', () => {
  const error = apiError(500, {
    code: 'internal_error',
    message: 'Broken.',
    details: { a: 1 },
    request_id: 'r2',
  });
  assert.deepEqual(errorLines(error, false), ['flotilla: Broken.', '  request id r2']);
});

test('a text from the server cannot drive the terminal', () => {
  const error = apiError(404, { code: 'not_found', message: 'No job\u001b[2J\nhere.' });
  assert.deepEqual(errorLines(error, false), ['flotilla: No job [2J here.']);
});

test('an unexpected error says how to see more, and shows it when asked', () => {
  assert.equal(errorLines(new TypeError('x is not a function'), false).length, 2);
  assert.match(errorLines(new TypeError('x'), true).join('\n'), /exit-code\.test\.ts/);
  assert.deepEqual(errorLines(new UsageError('Say more.'), false), ['flotilla: Say more.']);
});
