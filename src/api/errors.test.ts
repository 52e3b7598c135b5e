// What failures of every kind become for the client.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ApiError, toApiError, toErrorBody } from './errors.ts';

test('what nobody foresaw is internal_error, and tells nothing of the inside', () => {
  for (const failure of [new Error('relation "jobs" does not exist'), 'a text', null, { statusCode: 502 }]) {
    const error = toApiError(failure);
    assert.deepEqual([error.code, error.status, error.cause], ['internal_error', 500, failure]);
    assert.doesNotMatch(JSON.stringify(toErrorBody(error, 'r')), /jobs|a text/);
  }
});

test('what the HTTP server refuses keeps its kind', () => {
  const codeOf = (fields: object) => toApiError(Object.assign(new Error('x'), fields)).code;
  assert.equal(codeOf({ code: 'FST_ERR_CTP_BODY_TOO_LARGE', statusCode: 413 }), 'payload_too_large');
  assert.equal(codeOf({ code: 'FST_ERR_CTP_INVALID_MEDIA_TYPE', statusCode: 415 }), 'unsupported_media_type');
  assert.equal(codeOf({ statusCode: 400 }), 'validation_failed');
});

test('a full disk is told apart from a server that can go on', () => {
  const error = toApiError(Object.assign(new Error('no space left on device'), { code: 'ENOSPC' }));
  assert.deepEqual([error.code, error.status, error.retryAfterSeconds], ['unavailable', 503, 10]);
  assert.equal(toApiError(new ApiError('conflict', 'no')).status, 409);
});
