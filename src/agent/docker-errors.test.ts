// The engine's error texts as codes: a removal that is under way is told from one that fails.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { removeError } from './docker-errors.ts';

test('a removal that the engine is still at is no failure of it', () => {
  const underWay = removeError('removal of container c0ffee is already in progress');
  assert.equal(underWay.code, 'removal_under_way');
  const failed = removeError(
    'could not kill container: tried to kill container, but did not receive an exit event',
  );
  assert.equal(failed.code, 'engine_error');
  assert.match(failed.engineText ?? '', /did not receive an exit event/);
});
