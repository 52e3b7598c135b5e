// Small parts that routes share: ids from the path, the raw query, the list envelope and their schemas.
import type { FastifyRequest } from 'fastify';
import Type, { type TSchema } from 'typebox';
import type { ListQuery, ListResult } from '../db/list-sql.ts';
import type { ListEnvelope } from '../protocol/list.ts';
import { Uuid, uuidPattern } from '../protocol/schema.ts';
import { notFound, validationFailed } from './errors.ts';
import type { FilterRules } from './list-query.ts';

export const uuidParams = Type.Object({ uuid: Uuid });
const uuid = new RegExp(uuidPattern);

/** The id in the path; what is no UUID names nothing we have. */
export function uuidOf(request: FastifyRequest, what: string): string {
  const { uuid: id = '' } = request.params as { uuid?: string };
  if (!uuid.test(id)) throw notFound(what);
  return id.toLowerCase();
}

export function rawQueryOf(request: FastifyRequest): string {
  const url = request.raw.url ?? '';
  const at = url.indexOf('?');
  return at < 0 ? '' : url.slice(at + 1);
}

/** For what takes no query: a misspelt or misplaced parameter is told, not passed over. */
export function refuseQuery(request: FastifyRequest): void {
  const [name] = new URLSearchParams(rawQueryOf(request)).keys();
  if (name === undefined) return;
  throw validationFailed([{ path: name.slice(0, 80), expected: 'no query here', received: 'a parameter' }]);
}

export function listOf<T>(query: ListQuery, result: ListResult<unknown>, data: T[]): ListEnvelope<T> {
  return {
    data,
    page: query.page,
    limit: query.limit,
    total: result.total,
    total_is_exact: result.isTotalExact,
  };
}

/** The page of a list that is whole in memory. */
export function pageOf<T>({ page, limit }: Pick<ListQuery, 'page' | 'limit'>, items: readonly T[]): T[] {
  return items.slice((page - 1) * limit, page * limit);
}

const kinds = {
  words: 'one word or several, separated by commas',
  uuids: 'UUIDs, separated by commas',
  numbers: 'a number, or an inclusive range low,high',
  times: 'a date or time, or an inclusive range low,high (UTC)',
  labels: 'key=value pairs, separated by commas; all must match',
  prefix: 'its first characters, exactly',
  age: 'at least this many milliseconds ago',
};

/** The query of a list as OpenAPI shows it. */
export function listQuerySchema(filters: FilterRules): TSchema {
  const fields: Record<string, TSchema> = {
    limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 50, default: 20 })),
    page: Type.Optional(Type.Integer({ minimum: 1, default: 1 })),
    sort: Type.Optional(Type.String({ enum: ['created_at', '-created_at'], default: '-created_at' })),
  };
  for (const [name, rule] of Object.entries(filters)) {
    fields[`filter[${name}]`] = Type.Optional(Type.String({ description: kinds[rule.kind] }));
  }
  return Type.Object(fields);
}
