// Tests of the retry decision.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ApiError, ConnectionError } from './errors.ts';
import { type FailedTry, retryDelayMs } from './retry.ts';

const busy = new ApiError({ status: 503, text: '' });
const failure = (given: Partial<FailedTry>): FailedTry => ({
  error: busy,
  tries: 1,
  retryAfter: undefined,
  nowMs: 0,
  random: 1,
  ...given,
});

test('waits twice as long after each try and gives up after four', () => {
  const delays = [1, 2, 3, 4].map((tries) => retryDelayMs(failure({ tries })));
  assert.deepEqual(delays, [200, 400, 800, undefined]);
});

test('jitter takes away up to half', () => {
  assert.equal(retryDelayMs(failure({ random: 0 })), 100);
});

test('Retry-After is honoured as seconds and as a date, unless it asks for too long', () => {
  assert.equal(retryDelayMs(failure({ retryAfter: '3' })), 3000);
  assert.equal(retryDelayMs(failure({ retryAfter: 'Thu, 01 Jan 1970 00:00:05 GMT', nowMs: 1000 })), 4000);
  assert.equal(retryDelayMs(failure({ retryAfter: 'Thu, 01 Jan 1970 00:00:05 GMT', nowMs: 9000 })), 200);
  assert.equal(retryDelayMs(failure({ retryAfter: 'soon' })), 200);
  assert.equal(retryDelayMs(failure({ retryAfter: '3600' })), undefined);
});

test('only failures that may pass are retried', () => {
  const statuses = [400, 401, 404, 409, 429, 500, 502, 503];
  const retried = statuses.filter(
    (status) => retryDelayMs(failure({ error: new ApiError({ status, text: '' }) })) !== undefined,
  );
  assert.deepEqual(retried, [429, 503]);
  assert.ok(retryDelayMs(failure({ error: new ConnectionError('http://h', new Error('cut')) })));
  assert.equal(retryDelayMs(failure({ error: new Error('a bug') })), undefined);
});

test('a certificate that is not trusted is not retried and says what to do', () => {
  const cause = Object.assign(new Error('self-signed certificate'), { code: 'DEPTH_ZERO_SELF_SIGNED_CERT' });
  const error = new ConnectionError('https://h', cause);
  assert.equal(retryDelayMs(failure({ error })), undefined);
  assert.match(
    error.message,
    /^Cannot reach Flotilla at https:\/\/h: self-signed certificate\. Give the certificate/,
  );
});
