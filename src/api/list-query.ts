// Reads a list's query: limit, page, sort and filters, each checked; an unknown one names those that exist.
import type { Filter, ListQuery } from '../db/list-sql.ts';
import type { FieldIssue } from '../protocol/error.ts';
import { uuidPattern } from '../protocol/schema.ts';
import { validationFailed } from './errors.ts';
import { nearestWord } from './nearest-word.ts';
import { givenTwice, wholeNumber } from './parameters.ts';

/** What a resource can be filtered by: the name in `filter[name]`, its column and how its values read. */
export type FilterRule =
  | { kind: 'words'; column: string; words: readonly string[]; alsoKnown?: readonly string[] }
  | { kind: 'uuids'; column: string }
  | { kind: 'numbers'; column: string }
  | { kind: 'times'; column: string }
  | { kind: 'labels'; column: string }
  | { kind: 'prefix'; column: string }
  | { kind: 'age'; column: string };
export type FilterRules = Readonly<Record<string, FilterRule>>;

const maxLimit = 50;
const defaultLimit = 20;
const maxValues = 500;

/** The checked query, or one validation error with everything that is wrong. */
export function parseListQuery(rawQuery: string, rules: FilterRules): ListQuery {
  const issues: FieldIssue[] = [];
  const query: { page: number; limit: number; sort: ListQuery['sort']; filters: Filter[] } = {
    page: 1,
    limit: defaultLimit,
    sort: '-created_at',
    filters: [],
  };
  const seen = new Set<string>();
  for (const [name, value] of joined(rawQuery, rules)) {
    if (seen.has(name) && !name.startsWith('filter[')) issues.push(givenTwice(name));
    seen.add(name);
    if (name === 'limit') query.limit = integer({ name, value, max: maxLimit }, issues) ?? defaultLimit;
    else if (name === 'page')
      query.page = integer({ name, value, max: Number.MAX_SAFE_INTEGER }, issues) ?? 1;
    else if (name === 'sort') query.sort = sortOf(value, issues);
    else query.filters.push(...filterOf({ name, value, rules }, issues));
  }
  if (issues.length > 0) throw validationFailed(issues);
  return query;
}

/** Words and ids that come one to a parameter are any of them, as with commas; other filters narrow each other. */
function joined(rawQuery: string, rules: FilterRules): [name: string, value: string][] {
  const lists = new Map<string, [string, string]>();
  return [...new URLSearchParams(rawQuery)].flatMap(([name, value]) => {
    const kind = rules[/^filter\[(.*)\]$/.exec(name)?.[1] ?? '']?.kind;
    const earlier = lists.get(name);
    if (earlier !== undefined) earlier[1] += `,${value}`;
    if (earlier !== undefined) return [];
    const pair: [string, string] = [name, value];
    if (kind === 'words' || kind === 'uuids') lists.set(name, pair);
    return [pair];
  });
}

function integer({ name, value, max }: { name: string; value: string; max: number }, issues: FieldIssue[]) {
  const number = wholeNumber(1, max)(value);
  if (number !== undefined) return number;
  issues.push({ path: name, expected: `an integer from 1 to ${max}`, received: value.slice(0, 40) });
  return undefined;
}

function sortOf(value: string, issues: FieldIssue[]): ListQuery['sort'] {
  if (value === 'created_at' || value === '-created_at') return value;
  issues.push({ path: 'sort', expected: 'created_at or -created_at', received: value.slice(0, 40) });
  return '-created_at';
}

function filterOf(
  { name, value, rules }: { name: string; value: string; rules: FilterRules },
  issues: FieldIssue[],
): Filter[] {
  const field = /^filter\[(.*)\]$/.exec(name)?.[1];
  const rule = field !== undefined && Object.hasOwn(rules, field) ? rules[field] : undefined;
  if (rule === undefined) {
    issues.push(unknownParameter(name, field, rules));
    return [];
  }
  const filter = readFilter(rule, value.split(','));
  if (typeof filter !== 'string') return [filter];
  issues.push({ path: name, expected: filter, received: value.slice(0, 80) });
  return [];
}

/** The filter that these values make, or what was expected of them. */
export function readFilter(rule: FilterRule, values: string[]): Filter | string {
  if (values.length > maxValues) return `at most ${maxValues} values`;
  return readers[rule.kind](rule, values);
}

function unknownParameter(name: string, field: string | undefined, rules: FilterRules): FieldIssue {
  const filters = Object.keys(rules);
  const known = ['limit', 'page', 'sort', ...filters.map((filter) => `filter[${filter}]`)];
  const nearest =
    nearestWord(name, known) ??
    (field === undefined && filters.includes(name) ? `filter[${name}]` : undefined);
  return {
    path: name.slice(0, 80),
    expected: `one of ${known.join(', ')}`,
    received: 'an unknown parameter',
    ...(nearest === undefined ? {} : { hint: `did you mean ${nearest}?` }),
  };
}

/** Each gives the filter, or what was expected. */
const readers: Record<
  FilterRule['kind'],
  (
    rule: { column: string; words?: readonly string[]; alsoKnown?: readonly string[] },
    values: string[],
  ) => Filter | string
> = {
  words({ column, words = [], alsoKnown = [] }, values) {
    const known = [...words, ...alsoKnown];
    if (!values.every((value) => known.includes(value))) return `words of ${known.join(', ')}`;
    return { kind: 'words', column, words: values.filter((value) => words.includes(value)) };
  },
  uuids({ column }, values) {
    const pattern = new RegExp(uuidPattern);
    if (!values.every((value) => pattern.test(value))) return 'UUIDs, separated by commas';
    return { kind: 'uuids', column, uuids: values };
  },
  numbers({ column }, values) {
    const numbers = values.map(toNumber);
    const [from, to] = numbers;
    if (numbers.some((number) => number === undefined) || values.length > 2)
      return 'a number, or a range low,high';
    if (from === undefined || values.length === 1)
      return { kind: 'numbers', column, numbers: from === undefined ? [] : [from] };
    return { kind: 'number_range', column, from: from ?? null, to: to ?? null };
  },
  times({ column }, values) {
    const [low = '', high = low] = values;
    const from = startOf(low);
    const to = endOf(high);
    if (values.length > 2 || from === undefined || to === undefined)
      return 'a date or time (RFC 3339), or a range low,high';
    return { kind: 'time_range', column, from, to };
  },
  labels({ column }, values) {
    const pairs = values.map(
      (value) => [value.slice(0, value.indexOf('=')), value.slice(value.indexOf('=') + 1)] as const,
    );
    // No stored label holds a NUL, and PostgreSQL takes none in JSON.
    if (!values.every((value) => value.indexOf('=') > 0 && !value.includes('\0')))
      return 'labels as key=value, separated by commas';
    return { kind: 'labels', column, labels: Object.fromEntries(pairs) };
  },
  prefix({ column }, values) {
    const prefix = values.join(',');
    if (prefix === '' || prefix.length > 256 || prefix.includes('\0'))
      return 'the start of it, 1 to 256 characters';
    return { kind: 'prefix', column, prefix };
  },
  age({ column }, values) {
    const [text = ''] = values;
    if (values.length > 1 || !/^\d{1,15}$/.test(text) || Number(text) === 0)
      return 'milliseconds, a whole number of at least 1';
    return { kind: 'age', column, atLeastMs: Number(text) };
  },
};

function toNumber(text: string): number | undefined {
  return /^\d{1,15}(\.\d{1,9})?$/.test(text) ? Number(text) : undefined;
}

const datePattern = /^\d{4}-\d\d-\d\d$/;
const timePattern = /^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:?\d\d)?$/;
const dayMs = 86_400_000;

/** Epoch milliseconds of a date or time of RFC 3339, UTC where it names no zone; undefined for all else. */
export function startOf(text: string): number | undefined {
  if (!datePattern.test(text) && !timePattern.test(text)) return undefined;
  if (!isCalendarDay(text.slice(0, 10))) return undefined;
  const hasZone = datePattern.test(text) || /(Z|[+-]\d\d:?\d\d)$/.test(text);
  const at = Date.parse(hasZone ? text : `${text}Z`);
  return Number.isNaN(at) ? undefined : at;
}

/** Date.parse makes 3 March of 31 February. */
function isCalendarDay(date: string): boolean {
  const at = Date.parse(date);
  return !Number.isNaN(at) && new Date(at).toISOString().slice(0, 10) === date;
}

/** A bare date as an upper end means its whole day. */
function endOf(text: string): number | undefined {
  const at = startOf(text);
  return at !== undefined && datePattern.test(text) ? at + dayMs - 1 : at;
}
