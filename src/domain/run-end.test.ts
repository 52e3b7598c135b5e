// How ends of a run are told: the status, the code and the sentence.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { anEnd } from './life-builders.ts';
import { endOf } from './run-end.ts';

test('exit code 0 completes, without a sentence', () => {
  const told = endOf(anEnd({ lastLogLines: 'all well\n' }));
  assert.deepEqual([told.status, told.text, told.detail.code], ['COMPLETED', null, 'completed']);
});

test('another exit code fails and is named', () => {
  const told = endOf(anEnd({ exitCode: 3 }));
  assert.equal(told.status, 'FAILED');
  assert.equal(told.text, 'The container exited with code 3.');
  assert.deepEqual(told.detail, { code: 'exited', exit_code: 3, exit_signal: null, is_oom_killed: false });
});

test('a signal is named', () => {
  const told = endOf(anEnd({ exitCode: 139, exitSignal: 'SIGSEGV' }));
  assert.equal(told.text, 'The container was ended by SIGSEGV (exit code 139).');
});

test('running out of memory says what to ask for', () => {
  const told = endOf(anEnd({ exitCode: 137, exitSignal: 'SIGKILL', isOomKilled: true }));
  assert.match(told.text ?? '', /ran out of memory .*min_ram_gb/);
  assert.equal(told.detail.code, 'out_of_memory');
});

test('a child killed for memory does not fail a container that ends well', () => {
  assert.equal(endOf(anEnd({ isOomKilled: true })).status, 'COMPLETED');
});

test('an error of the start is told as it is, even with exit code 0', () => {
  const error = { code: 'image_not_found', message: 'There is no image a:1.' };
  const told = endOf(anEnd({ exitCode: 0, error }));
  assert.deepEqual([told.status, told.text, told.detail.code], ['FAILED', error.message, error.code]);
});

test('the last log lines follow the sentence, and blank ones do not', () => {
  assert.equal(
    endOf(anEnd({ exitCode: 1, lastLogLines: 'a\nb\n\n' })).text,
    'The container exited with code 1.\nLast log lines:\na\nb',
  );
  assert.ok(!endOf(anEnd({ exitCode: 1, lastLogLines: ' \n' })).text?.includes('Last log lines'));
});

test('a run completes exactly when nothing went wrong and the code is 0; a failure always has a sentence', () => {
  const anyEnd = fc.record({
    exitCode: fc.option(fc.integer({ min: 0, max: 255 })),
    exitSignal: fc.option(fc.constantFrom('SIGTERM', 'SIGKILL')),
    isOomKilled: fc.boolean(),
    error: fc.option(fc.record({ code: fc.constant('pull_refused'), message: fc.constant('No.') })),
    lastLogLines: fc.string(),
  });
  fc.assert(
    fc.property(anyEnd, (end) => {
      const told = endOf(anEnd(end));
      assert.equal(told.status === 'COMPLETED', end.error === null && end.exitCode === 0);
      assert.equal(typeof told.detail.code, 'string');
      if (told.status === 'FAILED') assert.ok(told.text.length > 0);
    }),
  );
});
