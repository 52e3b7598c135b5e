// Queries of single values: read, refused with everything that is wrong, and never read from the wrong one of two.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { FieldIssue } from '../protocol/error.ts';
import { ApiError } from './errors.ts';
import { readParameters, wholeNumber } from './parameters.ts';

const rules = {
  offset: { expected: 'a byte offset', read: wholeNumber(0, 100) },
  name: { expected: 'a name', read: (text: string) => (text === '' ? undefined : text) },
};

function issuesOf(query: string): [path: string, expected: string][] {
  try {
    readParameters(query, rules);
    return [];
  } catch (error) {
    assert.ok(error instanceof ApiError && error.status === 400);
    return (error.details as FieldIssue[]).map(({ path, expected }) => [path, expected]);
  }
}

test('what is given is read, what is not is absent', () => {
  assert.deepEqual(readParameters('', rules), {});
  assert.deepEqual(readParameters('offset=0', rules), { offset: 0 });
  assert.deepEqual(readParameters('name=a%20b&offset=100', rules), { name: 'a b', offset: 100 });
});

test('everything wrong is told at once: texts, names and what comes twice', () => {
  assert.deepEqual(issuesOf('offset=101&name=&ofset=1'), [
    ['offset', 'a byte offset'],
    ['name', 'a name'],
    ['ofset', 'one of offset, name'],
  ]);
  assert.deepEqual(issuesOf('offset=0&offset=0'), [['offset', 'this parameter once']]);
  for (const text of ['-1', '1.5', '0x1', '', ' 1', '1e1', 'NaN'])
    assert.deepEqual(issuesOf(`offset=${encodeURIComponent(text)}`), [['offset', 'a byte offset']]);
  assert.deepEqual(issuesOf('__proto__=1&constructor=2').length, 2);
});

test('any query is either read whole or refused', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.constantFrom('offset', 'name', 'x'), fc.string())), (pairs) => {
      const query = new URLSearchParams(pairs).toString();
      if (issuesOf(query).length > 0) return;
      assert.equal(Object.keys(readParameters(query, rules)).length, pairs.length);
    }),
  );
});
