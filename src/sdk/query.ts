// Builds query strings as the API reads them: `filter[status]=PENDING,RUNNING`.
import { encodeQueryComponent } from '../domain/canonical-query.ts';

export type QueryScalar = string | number | boolean | Date | null | undefined;
export type QueryValue = QueryScalar | readonly QueryScalar[] | { readonly [name: string]: QueryValue };

/** A list's query: `filter: { status: ['PENDING', 'RUNNING'] }` becomes `filter[status]=PENDING,RUNNING`. */
export type ListQuery = {
  limit?: number;
  page?: number;
  sort?: string;
  filter?: { readonly [name: string]: QueryValue };
};

/** The encoded query without `?`. Null and undefined are left out, lists are joined by commas, dates are RFC 3339. */
export function buildQuery(query: { readonly [name: string]: QueryValue }): string {
  return Object.entries(query)
    .flatMap(([name, value]) => parametersOf(name, value))
    .join('&');
}

function parametersOf(name: string, value: QueryValue): string[] {
  if (value === null || value === undefined) return [];
  if (isList(value)) return [parameter(name, value.flatMap(textsOf).join(','))];
  if (typeof value === 'object' && !(value instanceof Date)) {
    return Object.entries(value).flatMap(([part, inner]) => parametersOf(`${name}[${part}]`, inner));
  }
  return textsOf(value).map((text) => parameter(name, text));
}

function parameter(name: string, text: string): string {
  return `${encodeQueryComponent(name)}=${encodeQueryComponent(text)}`;
}

function textsOf(value: QueryScalar): string[] {
  if (value === null || value === undefined) return [];
  return [value instanceof Date ? value.toISOString() : String(value)];
}

function isList(value: QueryValue): value is readonly QueryScalar[] {
  return Array.isArray(value);
}
