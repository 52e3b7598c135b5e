// Lists: filters that were checked at the door become one WHERE clause; totals are exact to 10,000.
import type { Sql } from './database.ts';

/** A checked filter. Columns and literals come from our own tables, never from the request. */
export type Filter =
  | { kind: 'words'; column: string; words: readonly string[] }
  | { kind: 'uuids'; column: string; uuids: readonly string[] }
  | { kind: 'numbers'; column: string; numbers: readonly number[] }
  /** Inclusive at both ends; null is open. Times in epoch milliseconds. */
  | { kind: 'number_range' | 'time_range'; column: string; from: number | null; to: number | null }
  | { kind: 'labels'; column: string; labels: Readonly<Record<string, string>> }
  | { kind: 'prefix'; column: string; prefix: string }
  /** By the database's clock. */
  | { kind: 'age'; column: string; atLeastMs: number };

export interface ListQuery {
  page: number;
  limit: number;
  sort: 'created_at' | '-created_at';
  filters: readonly Filter[];
}

export interface ListResult<T> {
  items: T[];
  total: number;
  isTotalExact: boolean;
}

export interface Where {
  text: string;
  values: unknown[];
}

const exactTotal = 10_000;

export function whereOf(query: Pick<ListQuery, 'filters'>, owner: { column: string; value: string }): Where {
  const values: unknown[] = [owner.value];
  const bind = (value: unknown) => `$${values.push(value)}`;
  const conditions = query.filters.map((filter) => conditionOf(filter, bind));
  return { text: [`${owner.column} = $1`, ...conditions].join(' and '), values };
}

function conditionOf(filter: Filter, bind: (value: unknown) => string): string {
  const { column } = filter;
  switch (filter.kind) {
    case 'words':
      // Literals, so that the planner can match them with partial indexes; the door let only known words pass.
      return filter.words.length === 0 ? 'false' : `${column} in (${filter.words.map(literal).join(', ')})`;
    case 'uuids':
      return `${column} = any (${bind(filter.uuids)}::uuid[])`;
    case 'numbers':
      return `${column} = any (${bind(filter.numbers)}::double precision[])`;
    case 'number_range':
      return rangeOf(column, filter, (value) => `${bind(value)}::double precision`);
    case 'time_range':
      return timeRangeOf(column, filter, (value) => `to_timestamp(${bind(value)}::double precision / 1000)`);
    case 'labels':
      return `${column} <> '{}' and ${column} @> ${bind(JSON.stringify(filter.labels))}::jsonb`;
    case 'prefix':
      return `starts_with(${column}, ${bind(filter.prefix)})`;
    case 'age':
      return `${column} <= flotilla_now() - ${bind(filter.atLeastMs)}::bigint * interval '1 millisecond'`;
  }
}

function rangeOf(
  column: string,
  range: { from: number | null; to: number | null },
  value: (bound: number) => string,
): string {
  const bounds = [];
  if (range.from !== null) bounds.push(`${column} >= ${value(range.from)}`);
  if (range.to !== null) bounds.push(`${column} <= ${value(range.to)}`);
  return bounds.length === 0 ? 'true' : bounds.join(' and ');
}

/** Stored times are finer than the milliseconds shown, so the upper end is the whole millisecond. */
function timeRangeOf(
  column: string,
  range: { from: number | null; to: number | null },
  value: (bound: number) => string,
): string {
  const bounds = [];
  if (range.from !== null) bounds.push(`${column} >= ${value(range.from)}`);
  if (range.to !== null) bounds.push(`${column} < ${value(range.to + 1)}`);
  return bounds.length === 0 ? 'true' : bounds.join(' and ');
}

function literal(word: string): string {
  if (!/^[A-Za-z][\w-]*$/.test(word)) throw new Error(`Not a word for SQL: ${word}`);
  return `'${word}'`;
}

/** Stable pages: ties in time are broken by id. */
export function orderAndPage(query: ListQuery, table: string): string {
  const direction = query.sort === 'created_at' ? 'asc' : 'desc';
  const offset = (query.page - 1) * query.limit;
  return `order by ${table}.created_at ${direction}, ${table}.id ${direction} limit ${query.limit} offset ${offset}`;
}

/** The list's total: exact to 10,000, the planner's estimate beyond; a short first page needs no count. */
export async function countRows(
  sql: Sql,
  list: { tables: string; where: Where; query: ListQuery; found: number },
): Promise<{ total: number; isTotalExact: boolean }> {
  const { query, found, where, tables } = list;
  if (found < query.limit && (query.page === 1 || found > 0)) {
    return { total: (query.page - 1) * query.limit + found, isTotalExact: true };
  }
  const from = `from ${tables} where ${where.text}`;
  const [row] = await sql.query<{ total: number }>(
    `select count(*) as total from (select ${from} limit ${exactTotal + 1}) counted`,
    where.values,
  );
  const counted = row?.total ?? 0;
  if (counted <= exactTotal) return { total: counted, isTotalExact: true };
  const [plan] = await sql.query<{ 'QUERY PLAN': [{ Plan: { 'Plan Rows': number } }] }>(
    `explain (format json) select ${from}`,
    where.values,
  );
  return { total: Math.max(counted, plan?.['QUERY PLAN'][0].Plan['Plan Rows'] ?? 0), isTotalExact: false };
}
