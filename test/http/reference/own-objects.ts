// What each endpoint takes and answers that no field list of the reference covers, as it stands in the OpenAPI document.
import type { OpenApiDocument } from '../../support/openapi-check.ts';
import type { Endpoint } from './endpoints.ts';
import type { Schema } from './field-list.ts';
import { referenceObjects } from './objects.ts';
import { answerOf, bodyOf, operationOf, schemaAt } from './schemas.ts';

export interface OwnEndpoint {
  route: string;
  takes: string;
  answers: string;
  evidence: readonly string[];
}

export function ownObjects(document: OpenApiDocument, endpoints: readonly Endpoint[]): OwnEndpoint[] {
  const titles = new Map<string, string>(
    referenceObjects
      .filter(({ at }) => at.inside === undefined && at.part !== 'error')
      .map((object) => [JSON.stringify(schemaAt(document, object.at)), `**${object.title}**`]),
  );
  return endpoints.map(({ route, evidence, query = {} }) => {
    const operation = operationOf(document, route);
    const own = (operation.parameters ?? []).filter(
      (one) => one.in !== 'path' && !Object.hasOwn(query, one.name),
    );
    const body = bodyOf(operation);
    const takes = [...own.map(({ name }) => name), ...(body === undefined ? [] : [shown(body, titles)])];
    return { route, takes: takes.join(', ') || '—', answers: answer(answerOf(operation), titles), evidence };
  });
}

function answer(schema: Schema | undefined, titles: Map<string, string>): string {
  if (schema === undefined) return 'no JSON';
  const item = schema.properties?.total_is_exact === undefined ? undefined : schema.properties.data?.items;
  if (item === undefined) return shown(schema, titles);
  return `List of ${shown(item, titles)}`;
}

/** Its fields, and where they have been told already its title. */
function shown(schema: Schema, titles: Map<string, string>): string {
  const key = JSON.stringify(schema);
  const title = titles.get(key);
  if (title !== undefined) return title;
  const kind = schema.properties?.object;
  const object = kind?.const ?? kind?.enum?.[0];
  const names = fieldNames(schema);
  if (typeof object === 'string') titles.set(key, `\`${object}\``);
  const prefix = typeof object === 'string' ? `\`${object}\`: ` : '';
  return `${prefix}${names.join(', ') || 'nothing'}`;
}

/** Every field with its path, those with fields of their own too. */
export function fieldNames(schema: Schema, path = ''): string[] {
  return Object.entries(schema.properties ?? {}).flatMap(([key, one]) => {
    const isArray = one.items?.properties !== undefined;
    const name = `${path}${key}`;
    return [name, ...fieldNames(isArray ? (one.items ?? {}) : one, `${name}${isArray ? '[]' : ''}.`)];
  });
}
