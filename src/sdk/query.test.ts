// Tests of query building.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { buildQuery } from './query.ts';

const readBack = (query: Parameters<typeof buildQuery>[0]) => [...new URLSearchParams(buildQuery(query))];

test('filters become bracketed names, lists become commas', () => {
  assert.equal(
    buildQuery({ filter: { status: ['PENDING', 'RUNNING'] } }),
    'filter%5Bstatus%5D=PENDING%2CRUNNING',
  );
  assert.deepEqual(
    readBack({ limit: 5, sort: '-created_at', filter: { job_uuid: 'u', label: { team: 'a b~*' } } }),
    [
      ['limit', '5'],
      ['sort', '-created_at'],
      ['filter[job_uuid]', 'u'],
      ['filter[label][team]', 'a b~*'],
    ],
  );
});

test('absent values are left out, false and zero are not', () => {
  assert.deepEqual(readBack({ a: undefined, b: null, c: false, d: 0, e: '' }), [
    ['c', 'false'],
    ['d', '0'],
    ['e', ''],
  ]);
  assert.equal(buildQuery({}), '');
});

test('dates are RFC 3339', () => {
  const range = [new Date(0), new Date(1000)];
  assert.deepEqual(readBack({ filter: { created_at: range } }), [
    ['filter[created_at]', '1970-01-01T00:00:00.000Z,1970-01-01T00:00:01.000Z'],
  ]);
});
