// List queries: every filter kind, ranges with both ends, and refusals that name what there is.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ApiError } from './errors.ts';
import { type FilterRules, parseListQuery } from './list-query.ts';

const rules: FilterRules = {
  status: { kind: 'words', column: 'j.status', words: ['PENDING', 'RUNNING'], alsoKnown: ['PREPARING'] },
  uuid: { kind: 'uuids', column: 'j.id' },
  cpu_count: { kind: 'numbers', column: 'j.cpu_count' },
  created_at: { kind: 'times', column: 'j.created_at' },
  label: { kind: 'labels', column: 'j.labels' },
};
const filterOf = (name: string, value: string) =>
  parseListQuery(`filter[${name}]=${encodeURIComponent(value)}`, rules).filters[0];

function issuesOf(query: string): { path: string; expected: string; hint?: string }[] {
  try {
    parseListQuery(query, rules);
  } catch (error) {
    assert.ok(error instanceof ApiError && error.status === 400);
    return error.details as { path: string; expected: string; hint?: string }[];
  }
  return [];
}

test('without a query it is the first 20, newest first', () => {
  assert.deepEqual(parseListQuery('', rules), { page: 1, limit: 20, sort: '-created_at', filters: [] });
});

test('limit, page and sort are read, their limits inclusive', () => {
  const { limit, page, sort } = parseListQuery('limit=50&page=9007199254740991&sort=created_at', rules);
  assert.deepEqual([limit, page, sort], [50, Number.MAX_SAFE_INTEGER, 'created_at']);
  for (const wrong of [
    'limit=0',
    'limit=51',
    'limit=',
    'limit=1.5',
    'limit=1e1',
    'page=0',
    'page=-1',
    'sort=title',
    'limit=5&limit=6',
    'sort=created_at&page=1&page=2',
    'sort=created_at&sort=created_at',
  ]) {
    assert.equal(issuesOf(wrong).length, 1, wrong);
  }
});

test('words may be several, and those of the other resource match nothing', () => {
  assert.deepEqual(filterOf('status', 'PENDING,RUNNING'), {
    ...{ kind: 'words', column: 'j.status', words: ['PENDING', 'RUNNING'] },
  });
  assert.deepEqual(filterOf('status', 'PREPARING'), { kind: 'words', column: 'j.status', words: [] });
  assert.match(issuesOf('filter[status]=pending')[0]?.expected ?? '', /PENDING, RUNNING, PREPARING/);
});

test('words that come one to a parameter are any of them; other filters narrow each other', () => {
  const query = 'filter[status]=PENDING&filter[cpu_count]=1&filter[status]=RUNNING';
  assert.deepEqual(parseListQuery(query, rules).filters.length, 2);
  assert.deepEqual(parseListQuery(query, rules).filters[0], {
    ...{ kind: 'words', column: 'j.status', words: ['PENDING', 'RUNNING'] },
  });
  assert.equal(parseListQuery('filter[cpu_count]=1,8&filter[cpu_count]=4,16', rules).filters.length, 2);
});

test('one number is an equality, two are a range, decimals allowed', () => {
  assert.deepEqual(filterOf('cpu_count', '2.5'), { kind: 'numbers', column: 'j.cpu_count', numbers: [2.5] });
  assert.deepEqual(filterOf('cpu_count', '0,16'), {
    ...{ kind: 'number_range', column: 'j.cpu_count', from: 0, to: 16 },
  });
  for (const wrong of ['', ',', '1,', '1,2,3', '-1', '1e3', 'NaN', '0x10', ' 1'])
    assert.equal(issuesOf(`filter[cpu_count]=${wrong}`).length, 1, wrong);
});

test('a bare date is its whole day in UTC, as one value and as an upper end', () => {
  const day = { kind: 'time_range', column: 'j.created_at', from: Date.UTC(2023, 0, 1) };
  const dayMs = 86_400_000;
  assert.deepEqual(filterOf('created_at', '2023-01-01'), { ...day, to: day.from + dayMs - 1 });
  assert.deepEqual(filterOf('created_at', '2023-01-01,2023-01-02'), { ...day, to: day.from + 2 * dayMs - 1 });
});

test('times are RFC 3339, UTC where no zone is named', () => {
  const at = Date.UTC(2023, 0, 1, 10, 30, 5, 123);
  for (const text of [
    '2023-01-01T10:30:05.123Z',
    '2023-01-01T10:30:05.123',
    '2023-01-01 10:30:05.123Z',
    '2023-01-01T12:30:05.123+02:00',
  ]) {
    assert.deepEqual(filterOf('created_at', text), {
      ...{ kind: 'time_range', column: 'j.created_at', from: at, to: at },
    });
  }
});

test('a day that is in no calendar is refused', () => {
  for (const text of [
    '2023-02-31',
    '2023-02-29',
    '2023-04-31T10:00:00Z',
    '2023-13-01',
    '2023-00-10',
    '23-01-01',
    'now',
  ])
    assert.equal(issuesOf(`filter[created_at]=${text}`).length, 1, text);
  assert.equal(issuesOf('filter[created_at]=2024-02-29').length, 0);
});

test('labels are key=value; a value may hold further equal signs', () => {
  assert.deepEqual(filterOf('label', 'team=a,formula=b=c'), {
    ...{ kind: 'labels', column: 'j.labels', labels: { team: 'a', formula: 'b=c' } },
  });
  assert.equal(issuesOf('filter[label]=team').length, 1);
  assert.equal(issuesOf('filter[label]==a').length, 1);
});

test('an unknown parameter or filter names those there are, and the nearest', () => {
  const [issue] = issuesOf('filter[statu]=PENDING');
  assert.match(issue?.expected ?? '', /limit, page, sort, filter\[status\], filter\[uuid\]/);
  assert.equal(issue?.hint, 'did you mean filter[status]?');
  assert.equal(issuesOf('status=PENDING')[0]?.hint, 'did you mean filter[status]?');
  assert.equal(issuesOf('filter[constructor]=1').length, 1);
  assert.equal(issuesOf('filter[__proto__]=1').length, 1);
});

test('everything that is wrong is told at once', () => {
  assert.equal(issuesOf('limit=0&page=x&sort=up&filter[uuid]=7&colour=red').length, 5);
});

test('any query is either read or refused with a 400', () => {
  const name = fc.constantFrom(
    'limit',
    'page',
    'sort',
    ...Object.keys(rules).map((it) => `filter[${it}]`),
    'x',
  );
  const value = fc.oneof(fc.string(), fc.constantFrom('1', '1,2', 'PENDING', '2023-01-01', 'a=b'));
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.tuple(name, value), { maxLength: 5, selector: ([key]) => key }),
      (pairs) => {
        const query = new URLSearchParams(pairs).toString();
        if (issuesOf(query).length > 0) return;
        const { limit, page, filters } = parseListQuery(query, rules);
        assert.ok(limit >= 1 && limit <= 50 && page >= 1);
        assert.equal(filters.length, pairs.filter(([key]) => key.startsWith('filter')).length);
      },
    ),
  );
});
